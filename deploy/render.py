#!/usr/bin/env python3
"""Makes cloudformation.yaml and policies/*.json from template.yaml, or with --check says which of them are stale.

cloudformation.yaml is what the SAM transform gives, without the transform: its code comes from S3, and its release is the word
Release0, in descriptions, keys of the zips and names of the two version resources. Replace it at each deployment (docs/deploy.md).

policies/*.json are the identity policies with all parameters set; what depends on the account is a <placeholder>.
"""

import json
import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TEMPLATE = HERE / "template.yaml"
HEADER = "# Made by deploy/render.py from deploy/template.yaml; do not edit. Replace the word Release0 at each deployment: docs/deploy.md.\n"
CODE_PARAMETERS = {
    "CodeBucket": {"Type": "String", "Description": "Bucket in this region that holds the two zips."},
    "CoordinatorKey": {"Type": "String", "Description": "Key of coordinator.zip.", "Default": "owlet/Release0/coordinator.zip"},
    "WorkerKey": {"Type": "String", "Description": "Key of worker.zip.", "Default": "owlet/Release0/worker.zip"},
}
# What each reference of a policy becomes. All that is not here keeps its default, so there is one data place.
PLACEHOLDERS = {
    "Bucket": "<bucket>",
    "Bucket.Arn": "arn:aws:s3:::<bucket>",
    "WorkerLogGroup.Arn": "arn:aws:logs:<region>:<account>:log-group:/aws/lambda/<stack>-worker:*",
    "CoordinatorLogGroup.Arn": "arn:aws:logs:<region>:<account>:log-group:/aws/lambda/<stack>-coordinator:*",
    "DataBucket": "<data-bucket>",
    "DataPrefix": "<data-prefix>",
    "KmsKeyArn": "<kms-key-arn>",
    "DataKmsKeyArn": "<data-kms-key-arn>",
    "AWS::Partition": "aws",
    "AWS::Region": "<region>",
    "AWS::AccountId": "<account>",
    "AWS::StackName": "<stack>",
}
# Logical id and path of each policy document in the template.
POLICIES = {"coordinator": "CoordinatorRole", "worker": "WorkerRole", "caller": "OwletCallerPolicy"}
NO_VALUE = object()


def load_template():
    from samtranslator.yaml_helper import yaml_parse

    return yaml_parse(TEMPLATE.read_text())


class Resolver:
    """Evaluates the intrinsic functions that the policies use."""

    def __init__(self, template, parameters):
        defaults = {name: str(given["Default"]) for name, given in template["Parameters"].items() if "Default" in given}
        self.conditions = template["Conditions"]
        self.values = defaults | PLACEHOLDERS | parameters

    def ref(self, name):
        if name == "AWS::NoValue":
            return NO_VALUE
        if name not in self.values:
            raise SystemExit(f"render.py: {name} has neither a default nor a placeholder; add one to PLACEHOLDERS")
        return self.values[name]

    def condition(self, name):
        return self.value(self.conditions[name])

    def value(self, node):
        if isinstance(node, list):
            return [value for value in map(self.value, node) if value is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            function, argument = next(iter(node.items()))
            if function == "Ref":
                return self.ref(argument)
            if function == "Condition" and isinstance(argument, str):
                return self.condition(argument)
            if function == "Fn::GetAtt":
                return self.ref(argument if isinstance(argument, str) else ".".join(argument))
            if function == "Fn::Sub":
                return re.sub(r"\$\{([^}]+)}", lambda found: self.ref(found[1]), argument)
            if function == "Fn::If":
                return self.value(argument[1 if self.condition(argument[0]) else 2])
            if function == "Fn::Equals":
                return self.value(argument[0]) == self.value(argument[1])
            if function == "Fn::Not":
                return not self.value(argument[0])
            if function == "Fn::Or":
                return any(map(self.value, argument))
            if function == "Fn::And":
                return all(map(self.value, argument))
            if function.startswith("Fn::"):
                raise SystemExit(f"render.py: policies use {function}, which Resolver does not know; add it there")
        pairs = ((key, self.value(value)) for key, value in node.items())
        return {key: value for key, value in pairs if value is not NO_VALUE}


def policies(template, parameters):
    """Policy name -> document, as the template gives it with these parameters."""
    resolver = Resolver(template, parameters)
    documents = {}
    for name, logical_id in POLICIES.items():
        properties = template["Resources"][logical_id]["Properties"]
        document = properties["PolicyDocument"] if "PolicyDocument" in properties else properties["Policies"][0]["PolicyDocument"]
        documents[name] = resolver.value(document)
    return documents


def cloudformation(template):
    """The template after the SAM transform, as YAML text."""
    import yaml
    from samtranslator.translator.transform import transform

    class Policies:
        def load(self):
            return {}

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data):
            return True

        def represent_sequence(self, tag, sequence, flow_style=None):
            return super().represent_sequence(tag, sequence, all(isinstance(item, (str, int)) for item in sequence))

    for role in ("Coordinator", "Worker"):
        code = {"Bucket": {"Ref": "CodeBucket"}, "Key": {"Ref": f"{role}Key"}}
        template["Resources"][f"{role}Function"]["Properties"]["CodeUri"] = code
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    plain = transform(template, {"Release": "Release0"}, Policies())
    del plain["Parameters"]["Release"]
    plain["Parameters"] = CODE_PARAMETERS | plain["Parameters"]
    # The translator's objects become plain dicts and lists; the order of the template stays.
    plain = json.loads(json.dumps(plain))
    return HEADER + yaml.dump(plain, Dumper=Plain, sort_keys=False, width=160)


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        raise SystemExit("usage: render.py [--check]")
    documents = policies(load_template(), {})
    files = {HERE / "policies" / f"{name}.json": json.dumps(document, indent=2) + "\n" for name, document in documents.items()}
    files[HERE / "cloudformation.yaml"] = cloudformation(load_template())
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    if sys.argv[1:] == ["--check"]:
        for path in stale:
            print(f"{path.relative_to(HERE.parent)} is stale: run deploy/render.py")
        raise SystemExit(1 if stale else 0)
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(files[path])
        print(f"wrote {path.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
