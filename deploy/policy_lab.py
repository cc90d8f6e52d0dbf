#!/usr/bin/env python3
"""An S3 server on a loopback port that enforces policies/coordinator.json and policies/worker.json, driven by JSON lines.

usage: policy_lab.py [--data DIR] [--bucket NAME] [--data-bucket NAME] [--data-prefix PREFIX/] [--stack NAME] [--parameters JSON]
Files below DIR become objects below s3://DATA-BUCKET/PREFIX. With --parameters, an object of parameters of template.yaml, the
policies are those that the template gives with them. Needs moto[server], as deploy/check installs it.

Standard output, first line:
  {"endpoint": "http://127.0.0.1:N", "region": "us-east-1", "account": "...", "bucket": "...", "data_bucket": "...",
   "data_prefix": "...", "data_keys": 8, "coordinator": {"access_key_id": "...", "secret_access_key": "..."}, "worker": {...}}
Then one line of answer for each line of standard input:
  {"actions": "worker"}        -> {"actions": [{"statement": "Exchange", "action": "s3:GetObject", "skip": null or "why"}, ...]}
  {"replace": "worker", "without": ["Exchange", "s3:GetObject"]}  -> {"ok": true}; the policy without that one action
  {"restore": "worker"}        -> {"ok": true}; the shipped policy again
  {"used": "worker"}           -> {"used": [{"statement", "action", "count"}, ...], "denied": [{"action", "resource"}, ...]};
                                  what was used and refused since the last such question (at most 100 refusals)
  {"decide": "coordinator", "action": "lambda:InvokeFunction", "resource": "arn:..."}  -> {"allowed": true, "statement": "InvokeWorker"}
  {"stop": true} or end of input  -> the server ends
A mistake is answered with {"error": "..."}.

moto keeps the objects, checks signatures and names the action of each request. The policies are evaluated here, since moto ignores
what a request says about s3:prefix (an Allow with a Condition refuses everything) and does not look at the keys of a bulk delete.
As in S3, a missing object is 404 only for an identity that may list its key, else 403. Two things differ from AWS: the signature
of a presigned URL is not checked, and a bulk delete is refused whole when one of its keys is.
"""

import argparse
import json
import logging
import re
import sys
import threading
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlparse
from xml.etree import ElementTree

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.authorization import ActionAuthenticatorMixin
from moto.iam.access_control import S3IAMRequest
from moto.iam.models import iam_backends
from moto.s3.exceptions import BucketAccessDeniedError
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

import render

REGION = "us-east-1"
ROLES = ("coordinator", "worker")
MAX_DENIED = 100
SKIPPED_STATEMENTS = {
    "OwnKey": "KMS: objects of the lab are not encrypted with a key",
    "DataKey": "KMS: objects of the lab are not encrypted with a key",
    "Logs": "CloudWatch Logs: the platform writes them, there is none here",
    "Trace": "X-Ray: the platform sends traces, there is none here",
    "InvokeWorker": "Lambda: invokes do not pass here; ask with decide",
    "InvokeSelf": "Lambda: invokes do not pass here; ask with decide",
}
SKIPPED_ACTIONS = {"s3:AbortMultipartUpload": "used only when a large upload fails half-way"}


def matches(pattern, text):
    """IAM's wildcards: * is any text, ? one character."""
    parts = {"*": ".*", "?": "."}
    return re.fullmatch("".join(parts.get(char, re.escape(char)) for char in pattern), text, re.DOTALL) is not None


def as_list(value):
    return value if isinstance(value, list) else [value]


def holds(condition, context):
    """True when all keys of a Condition are in the request's context and fit."""
    for operator, keys in condition.items():
        for key, patterns in keys.items():
            if operator not in ("StringLike", "StringEquals"):
                return False
            fits = matches if operator == "StringLike" else str.__eq__
            if key not in context or not any(fits(pattern, context[key]) for pattern in as_list(patterns)):
                return False
    return True


class Identity:
    """One role: its policy, its key, and what it used."""

    def __init__(self, name, text, placeholders):
        for placeholder, value in placeholders.items():
            text = text.replace(placeholder, value)
        if "<" in text:
            raise SystemExit(f"the policy {name} has a placeholder that policy_lab.py does not know: {re.findall('<[^>]*>', text)}")
        self.shipped = text
        self.policy = json.loads(text)
        self.used = Counter()
        self.denied = []
        iam = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
        iam.create_user(region_name=REGION, user_name=name)
        self.key = iam.create_access_key(name)

    def credentials(self):
        return {"access_key_id": self.key.access_key_id, "secret_access_key": self.key.secret_access_key}

    def without(self, statement_id, action):
        policy = json.loads(self.shipped)
        for statement in policy["Statement"]:
            if statement["Sid"] == statement_id and action in statement["Action"]:
                statement["Action"].remove(action)
                policy["Statement"] = [statement for statement in policy["Statement"] if statement["Action"]]
                self.policy = policy
                return
        raise ValueError(f"no action {action} in a statement {statement_id}")

    def find(self, action, resource, context):
        """The statement that allows this, or None; the policies have no Deny."""
        for statement in self.policy["Statement"]:
            fits = action in statement["Action"] and any(matches(pattern, resource) for pattern in as_list(statement["Resource"]))
            if fits and holds(statement.get("Condition", {}), context):
                return statement["Sid"]
        return None

    def decide(self, action, resource, context):
        found = self.find(action, resource, context)
        if found:
            self.used[found, action] += 1
        elif len(self.denied) < MAX_DENIED:
            self.denied.append({"action": action, "resource": resource})
        return found


class Lab:
    """The identities, and the check that replaces moto's own for S3 requests."""

    def __init__(self, documents, placeholders):
        self.lock = threading.Lock()
        self.identities = {name: Identity(name, documents[name], placeholders) for name in ROLES}
        self.by_key = {identity.key.access_key_id: identity for identity in self.identities.values()}

    def caller(self, response, query):
        """Who signed the request; raises what S3 answers to a wrong key or signature."""
        if "Authorization" in response.headers:
            url = urlparse(response.uri)
            request = S3IAMRequest(
                account_id=response.current_account,
                method=response.method,
                path=response.raw_path + (f"?{url.query}" if url.query else ""),
                data=response.data,
                body=response.raw_body,
                headers=response.headers,
                action=response._get_action(),
            )
            request.check_signature()
            return self.by_key.get(request._access_key._access_key_id)
        key = query.get("X-Amz-Credential", [""])[0].split("/")[0]
        return self.by_key.get(key)

    def authorize(self, response, bucket_name=None, key_name=None):
        query = parse_qs(urlparse(response.uri).query, keep_blank_values=True)
        identity = self.caller(response, query)
        action = f"s3:{response._get_action()}"
        bucket = f"arn:aws:s3:::{bucket_name or '*'}"
        resources = [f"{bucket}/{key_name}"] if key_name else [bucket]
        if action == "s3:DeleteObject" and not key_name:
            keys = ElementTree.fromstring(response.raw_body).iterfind(".//{*}Key")
            resources = [f"{bucket}/{key.text}" for key in keys]
        context = {"s3:prefix": query["prefix"][0]} if "prefix" in query else {}
        with self.lock:
            allowed = identity and all([identity.decide(action, resource, context) for resource in resources])
            if allowed and action == "s3:GetObject" and not self.exists(bucket_name, key_name):
                allowed = identity.find("s3:ListBucket", bucket, {"s3:prefix": unquote(key_name)})
        if not allowed:
            raise BucketAccessDeniedError(bucket=bucket_name)

    @staticmethod
    def exists(bucket_name, key_name):
        try:
            return s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_object(bucket_name, key_name) is not None
        except Exception:
            return False

    def answer(self, command):
        with self.lock:
            if "actions" in command:
                statements = json.loads(self.identities[command["actions"]].shipped)["Statement"]
                pairs = ((statement["Sid"], action) for statement in statements for action in statement["Action"])
                skip = lambda sid, action: SKIPPED_STATEMENTS.get(sid) or SKIPPED_ACTIONS.get(action)  # noqa: E731
                return {"actions": [{"statement": sid, "action": action, "skip": skip(sid, action)} for sid, action in pairs]}
            if "replace" in command:
                self.identities[command["replace"]].without(*command["without"])
                return {"ok": True}
            if "restore" in command:
                identity = self.identities[command["restore"]]
                identity.policy = json.loads(identity.shipped)
                return {"ok": True}
            if "used" in command:
                identity = self.identities[command["used"]]
                used, denied = identity.used, identity.denied
                identity.used, identity.denied = Counter(), []
                pairs = [{"statement": sid, "action": action, "count": count} for (sid, action), count in sorted(used.items())]
                return {"used": pairs, "denied": denied}
            if "decide" in command:
                found = self.identities[command["decide"]].decide(command["action"], command["resource"], {})
                return {"allowed": found is not None, "statement": found}
        raise ValueError(f"unknown command {sorted(command)}")


def load(bucket, prefix, folder):
    """Puts the files below a folder; returns how many."""
    count = 0
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            key = prefix + path.relative_to(folder).as_posix()
            s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket, key, path.read_bytes())
            count += 1
    return count


def documents(parameters):
    """Role -> text of its policy: the shipped file, or what the template gives with other parameters."""
    if parameters is None:
        return {name: (Path(__file__).parent / "policies" / f"{name}.json").read_text() for name in ROLES}
    return {name: json.dumps(document) for name, document in render.policies(render.load_template(), parameters).items()}


def main():
    parser = argparse.ArgumentParser(description="S3 server that enforces the shipped policies")
    parser.add_argument("--data")
    parser.add_argument("--bucket", default="owlet-lab")
    parser.add_argument("--data-bucket", default="owlet-lab-data")
    parser.add_argument("--data-prefix", default="tables/")
    parser.add_argument("--stack", default="owlet")
    parser.add_argument("--parameters", type=json.loads)
    given = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    lab = Lab(documents(given.parameters), {
        "<bucket>": given.bucket,
        "<data-bucket>": given.data_bucket,
        "<data-prefix>": given.data_prefix,
        "<region>": REGION,
        "<account>": DEFAULT_ACCOUNT_ID,
        "<stack>": given.stack,
        "<kms-key-arn>": f"arn:aws:kms:{REGION}:{DEFAULT_ACCOUNT_ID}:key/own",
        "<data-kms-key-arn>": f"arn:aws:kms:{REGION}:{DEFAULT_ACCOUNT_ID}:key/data",
    })
    for bucket in (given.bucket, given.data_bucket):
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].create_bucket(bucket, REGION)
    data_keys = load(given.data_bucket, given.data_prefix, given.data) if given.data else 0
    ActionAuthenticatorMixin._authenticate_and_authorize_s3_action = lambda response, **names: lab.authorize(response, **names)  # noqa: E731

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    hello = {
        "endpoint": f"http://127.0.0.1:{server.get_host_and_port()[1]}",
        "region": REGION,
        "account": DEFAULT_ACCOUNT_ID,
        "bucket": given.bucket,
        "data_bucket": given.data_bucket,
        "data_prefix": given.data_prefix,
        "data_keys": data_keys,
    }
    print(json.dumps(hello | {name: identity.credentials() for name, identity in lab.identities.items()}), flush=True)
    for line in sys.stdin:
        try:
            command = json.loads(line)
            if command.get("stop"):
                break
            answer = lab.answer(command)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    server.stop()


if __name__ == "__main__":
    main()
