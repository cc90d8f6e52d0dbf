#!/usr/bin/env python3
"""Checks what the template grants: least privilege of the three policies, and the settings that keep data private and cost bounded."""

import json
import sys
from pathlib import Path

import render
import yaml
from moto.iam.policy_validation import IAMPolicyDocumentValidator

HERE = Path(__file__).resolve().parent
# Statements that may name the resource *, with the reason.
ANY_RESOURCE = {"Trace": "X-Ray's two actions know no resources"}
WORKER_S3 = {"arn:aws:s3:::<bucket>/exchange/*", "arn:aws:s3:::<data-bucket>/<data-prefix>*"}
KEY = "arn:aws:kms:us-east-1:123456789012:key/k"
# Longest that a policy may be, in characters without white space: inline policies of a role, a managed policy.
MAX_CHARACTERS = {"coordinator": 10_240, "worker": 10_240, "caller": 6_144}
failures = 0


def check(name, right, detail=""):
    global failures
    failures += not right
    print(f"ok      {name}" if right else f"FAILED  {name}: {detail}")


def as_list(value):
    return value if isinstance(value, list) else [value]


def grants(policy, action_prefix=""):
    """(statement, action, resource) of all that a policy allows."""
    return [
        (statement, action, resource)
        for statement in policy["Statement"]
        for action in statement["Action"]
        for resource in as_list(statement["Resource"])
        if action.startswith(action_prefix)
    ]


def check_any(name, policy):
    text = json.dumps(policy).replace("<data-kms-key-arn>", KEY).replace("<kms-key-arn>", KEY)
    try:
        fault = IAMPolicyDocumentValidator(text.replace("<", "").replace(">", "")).validate()
    except Exception as error:
        fault = error
    check(f"{name}: well-formed for IAM", fault is None, fault)
    statements = policy["Statement"]
    sids = [statement["Sid"] for statement in statements]
    check(f"{name}: statements have names of their own", len(set(sids)) == len(sids), sids)
    known = {"Sid", "Effect", "Action", "Resource", "Condition"}
    odd = [statement["Sid"] for statement in statements if statement["Effect"] != "Allow" or not statement.keys() <= known]
    check(f"{name}: only Allow, no NotAction, no NotResource", not odd, odd)
    wild = [action for _, action, _ in grants(policy) if "*" in action or "?" in action]
    check(f"{name}: no wildcard in an action", not wild, wild)
    wide = {statement["Sid"] for statement, _, resource in grants(policy) if resource == "*"}
    reasons = "; ".join(f"{sid}: {ANY_RESOURCE[sid]}" for sid in sorted(wide) if sid in ANY_RESOURCE)
    check(f"{name}: no resource * but ({reasons or 'none'})", wide <= ANY_RESOURCE.keys(), wide)
    free = [statement["Sid"] for statement, _, _ in grants(policy, "kms:") if "kms:ViaService" not in json.dumps(statement["Condition"])]
    check(f"{name}: keys only through S3", not free, free)


def check_worker(policy):
    actions = {action for _, action, _ in grants(policy)}
    bad = {action for action in actions if any(word in action for word in ("List", "Delete", "Invoke", "glue:", "sts:", "iam:"))}
    check("worker: cannot list, delete, invoke, read a catalog or take another role", not bad, bad)
    check("worker: touches exchange and data only", {resource for _, _, resource in grants(policy, "s3:")} == WORKER_S3)
    written = {resource for _, action, resource in grants(policy, "s3:") if action != "s3:GetObject"}
    check("worker: writes the exchange only", written == {"arn:aws:s3:::<bucket>/exchange/*"}, written)


def check_coordinator(policy):
    invoked = {resource.rsplit(":", 2)[-2:][0] + ":" + resource.rsplit(":", 1)[-1] for _, _, resource in grants(policy, "lambda:")}
    check("coordinator: invokes the live aliases of the worker and itself only", invoked == {"<stack>-worker:live", "<stack>-coordinator:live"}, invoked)
    lambda_actions = {action for _, action, _ in grants(policy, "lambda:")}
    check("coordinator: only InvokeFunction of Lambda", lambda_actions == {"lambda:InvokeFunction"}, lambda_actions)
    deleted = {resource for _, _, resource in grants(policy, "s3:Delete")}
    check("coordinator: deletes below exchange/ only", deleted == {"arn:aws:s3:::<bucket>/exchange/*"}, deleted)
    on_data = {action for _, action, resource in grants(policy) if "<data-bucket>" in resource}
    check("coordinator: only reads and lists data", on_data == {"s3:GetObject", "s3:ListBucket"}, on_data)
    free = [statement["Sid"] for statement, _, _ in grants(policy, "s3:List") if "s3:prefix" not in json.dumps(statement.get("Condition", ""))]
    check("coordinator: lists within prefixes only", not free, free)


def check_caller(policy):
    conditions = {action: json.dumps(statement["Condition"]) for statement, action, _ in grants(policy)}
    check("caller: has the two actions of a Function URL and no more", conditions.keys() == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"})
    through = "lambda:InvokedViaFunctionUrl" in conditions.get("lambda:InvokeFunction", "")
    check("caller: invokes through the URL only, so that nobody sends a forged identity", through)


def check_parameters(template):
    def sids(parameters):
        return {statement["Sid"]: statement for statement in render.policies(template, parameters)["coordinator"]["Statement"]}

    whole = sids({"DataPrefix": ""})["ListData"]
    check("parameters: no DataPrefix lists the whole data bucket, and only that", "Condition" not in whole and whole["Resource"].endswith("<data-bucket>"))
    more = sids({"DataBucket2": "b2", "DataPrefix2": "p2/", "DataBucket3": "b3"})
    found = (more["ReadData2"]["Resource"], more["ListData2"]["Condition"], more["ReadData3"]["Resource"])
    wanted = ("arn:aws:s3:::b2/p2/*", {"StringLike": {"s3:prefix": "p2/*"}}, "arn:aws:s3:::b3/*")
    check("parameters: three data places", found == wanted, found)
    none = sids({"KmsKeyArn": "", "DataKmsKeyArn": ""})
    check("parameters: no KMS key, no KMS statement", not {"OwnKey", "DataKey"} & none.keys())
    check_writes(template)
    check_catalog(template)
    long = {"Catalog": "glue", "WriteBucket": "b" * 63, "WritePrefix": "p" * 512, "DataBucket": "b" * 63, "DataPrefix": "p" * 512, "DataBucket2": "b" * 63, "DataPrefix2": "p" * 512, "DataBucket3": "b" * 63, "DataPrefix3": "p" * 512}
    for name, policy in render.policies(template, long).items():
        size = len("".join(json.dumps(policy).split()))
        check(f"parameters: {name} policy fits IAM with long names", size < MAX_CHARACTERS[name], size)


def check_writes(template):
    before, after = render.policies(template, {}), render.policies(template, {"WriteBucket": "w", "WritePrefix": "p/"})
    place, staging = "arn:aws:s3:::w/p/*", {"arn:aws:s3:::w/p/_owlet_staging/*", "arn:aws:s3:::w/p/*/_owlet_staging/*"}

    def added(role, word):
        new = [statement for statement in after[role]["Statement"] if statement not in before[role]["Statement"]]
        return {resource for _, action, resource in grants({"Statement": new}, "s3:") if word in action}

    check("parameters: no WriteBucket, nothing to write to", not any("_owlet_staging" in json.dumps(policy) for policy in before.values()))
    check("parameters: workers write below staging only, and do not read it", (added("worker", "Put"), added("worker", "Get")) == (staging, set()), added("worker", ""))
    check("parameters: workers neither list nor delete what they write", not added("worker", "List") | added("worker", "Delete"))
    found = (added("coordinator", "Put"), added("coordinator", "Delete"))
    check("parameters: the coordinator writes and deletes in the place only", found == ({place}, {place}), found)


def check_catalog(template):
    def added(parameters):
        before, after = render.policies(template, {}), render.policies(template, parameters)
        check(f"parameters: {parameters} gives the worker and callers nothing", all(before[role] == after[role] for role in ("worker", "caller")))
        new = [statement for statement in after["coordinator"]["Statement"] if statement not in before["coordinator"]["Statement"]]
        return {(action, resource) for _, action, resource in grants({"Statement": new})}

    def objects(folder):
        return {(f"s3:{action}Object", f"arn:aws:s3:::<bucket>/{folder}/*") for action in ("Get", "Put", "Delete")}

    check("parameters: no Catalog, no statement for one", not any(word in json.dumps(render.policies(template, {})) for word in ("catalog/", "prepared/", "glue:")))
    always = objects("prepared") | {("s3:ListBucket", "arn:aws:s3:::<bucket>")}
    in_bucket = added({"Catalog": "s3"})
    check("parameters: Catalog s3 adds catalog/ and prepared/ of the bucket", in_bucket == always | objects("catalog"), in_bucket)
    in_glue = added({"Catalog": "glue"})
    glue = {resource.split(":", 5)[5].split("/")[0] for action, resource in in_glue if action.startswith("glue:")}
    check("parameters: Catalog glue adds Glue of this account and region", glue == {"catalog", "database", "table", "userDefinedFunction"}, glue)
    rest = {pair for pair in in_glue if not pair[0].startswith("glue:")}
    own = all(":<region>:<account>:" in resource for action, resource in in_glue if action.startswith("glue:"))
    check("parameters: Catalog glue adds prepared/ of the bucket, and nothing elsewhere", own and rest == always, rest)


def check_template(plain):
    resources = plain["Resources"]

    def of(kind):
        return {name: given["Properties"] for name, given in resources.items() if given["Type"] == kind}

    bucket = resources["Bucket"]["Properties"]
    check("bucket: public access is blocked four times", list(bucket["PublicAccessBlockConfiguration"].values()) == [True] * 4)
    check("bucket: the owner owns all objects", "BucketOwnerEnforced" in json.dumps(bucket["OwnershipControls"]))
    check("bucket: encrypted, with a bucket key under KMS", "BucketKeyEnabled" in json.dumps(bucket["BucketEncryption"]))
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    ages = {name: rule.get("ExpirationInDays") for name, rule in rules.items()}
    wanted = {"Exchange": 1, "Results": {"Ref": "ResultRetentionDays"}, "Queries": 35, "Tokens": 35, "Uploads": None}
    check("bucket: lifecycle of exchange, results, queries, tokens", ages == wanted, ages)
    check("bucket: unfinished uploads end after a day", rules["Uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1})
    (statement,) = resources["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    only_tls = statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    check("bucket: refuses plain HTTP, grants nothing", only_tls, statement)
    functions = of("AWS::Lambda::Function")
    check("functions: not in a VPC", all("VpcConfig" not in given for given in functions.values()))
    check("functions: two, each with a role of its own", len({json.dumps(given["Role"]) for given in functions.values()}) == len(functions) == 2)
    check("functions: traced", all(given["TracingConfig"] == {"Mode": "Active"} for given in functions.values()))
    check("functions: log JSON", all(given["LoggingConfig"]["LogFormat"] == "JSON" for given in functions.values()))
    check("functions: concurrency can be capped", all("ReservedConcurrentExecutions" in given for given in functions.values()))
    told = [given["Environment"]["Variables"].get("OWLET_EPHEMERAL_MB") == given["EphemeralStorage"]["Size"] for given in functions.values()]
    check("functions: know the size of their /tmp", all(told))
    check("functions: versions carry the release", sum(name.endswith("VersionRelease0") for name in resources) == 2)
    aliases = [given["Name"] for given in of("AWS::Lambda::Alias").values()]
    check("functions: alias live", aliases == ["live", "live"], aliases)
    check("logs: have an end", all("RetentionInDays" in given for given in of("AWS::Logs::LogGroup").values()))
    (url,) = of("AWS::Lambda::Url").values()
    check("url: needs an AWS signature", url["AuthType"] == "AWS_IAM", url)
    route = resources["ApiRoute"]["Properties"]["AuthorizationType"]
    check("api: no route without authorizer", route == {"Fn::If": ["IsJwt", "JWT", "AWS_IAM"]}, route)
    (invoke,) = of("AWS::Lambda::EventInvokeConfig").values()
    limits = (invoke["MaximumRetryAttempts"], invoke["MaximumEventAgeInSeconds"])
    check("async: one retry, 15 minutes: no longer than a record waits", limits == (1, 900), limits)
    principals = {json.dumps(given["Principal"]) for given in of("AWS::Lambda::Permission").values()}
    check("permissions: only for services, with a source", principals == {'"apigateway.amazonaws.com"', '"events.amazonaws.com"'}, principals)
    check("permissions: name their source", all("SourceArn" in given for given in of("AWS::Lambda::Permission").values()))


def main():
    template = render.load_template()
    policies = {name: json.loads((HERE / "policies" / f"{name}.json").read_text()) for name in render.POLICIES}
    for name, policy in policies.items():
        check_any(name, policy)
    check_worker(policies["worker"])
    check_coordinator(policies["coordinator"])
    check_caller(policies["caller"])
    check_parameters(template)
    check_template(yaml.safe_load((HERE / "cloudformation.yaml").read_text()))


if __name__ == "__main__":
    main()
    sys.exit(failures > 0)
