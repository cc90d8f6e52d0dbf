#!/usr/bin/env python3
"""Drives policy_lab.py with boto3: what the shipped policies allow and refuse, and that taking an action out is felt."""

import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

failures = 0


def check(name, right, detail=""):
    global failures
    failures += not right
    print(f"ok      {name}" if right else f"FAILED  {name}: {detail}")


def code(call, **arguments):
    """HTTP status of a call."""
    try:
        answer = call(**arguments)
        if answer.get("Errors"):
            return answer["Errors"][0]["Code"]
        return answer["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]


def expect(name, want, call, **arguments):
    found = code(call, **arguments)
    check(f"lab: {name}: {want}", found == want, f"got {found}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "t").mkdir()
        (Path(folder) / "t" / "a b.csv").write_text("x\n1\n")
        lab = subprocess.Popen(
            [sys.executable, Path(__file__).parent / "policy_lab.py", "--data", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            drive(lab)
        finally:
            lab.kill()


def drive(lab):
    hello = json.loads(lab.stdout.readline())

    def ask(**command):
        lab.stdin.write(json.dumps(command) + "\n")
        lab.stdin.flush()
        return json.loads(lab.stdout.readline())

    def client(credentials):
        return boto3.client(
            "s3",
            endpoint_url=hello["endpoint"],
            region_name=hello["region"],
            aws_access_key_id=credentials["access_key_id"],
            aws_secret_access_key=credentials["secret_access_key"],
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )

    coordinator, worker = client(hello["coordinator"]), client(hello["worker"])
    stranger = client({"access_key_id": "AKIAXXXXXXXXXXXXXXXX", "secret_access_key": "x"})
    forger = client(hello["worker"] | {"secret_access_key": "x"})
    own, data = hello["bucket"], hello["data_bucket"]
    check("lab: loads the data folder", hello["data_keys"] == 1, hello)

    expect("worker reads data", 200, worker.get_object, Bucket=data, Key="tables/t/a b.csv")
    expect("worker outside the data prefix", 403, worker.get_object, Bucket=data, Key="other/x")
    expect("worker lists data", 403, worker.list_objects_v2, Bucket=data, Prefix="tables/")
    expect("worker writes data", 403, worker.put_object, Bucket=data, Key="tables/x", Body=b"")
    expect("worker writes the exchange", 200, worker.put_object, Bucket=own, Key="exchange/q/1", Body=b"x")
    expect("worker reads the exchange", 200, worker.get_object, Bucket=own, Key="exchange/q/1")
    expect("worker looks for a missing cancel marker", 403, worker.head_object, Bucket=own, Key="exchange/q/cancel")
    expect("worker deletes from the exchange", 403, worker.delete_object, Bucket=own, Key="exchange/q/1")
    expect("worker lists the exchange", 403, worker.list_objects_v2, Bucket=own, Prefix="exchange/q/")
    expect("worker reads query records", 403, worker.get_object, Bucket=own, Key="queries/p/q.json")
    expect("worker writes results", 403, worker.put_object, Bucket=own, Key="results/q.json", Body=b"")
    upload = worker.create_multipart_upload(Bucket=own, Key="exchange/q/2")["UploadId"]
    part = worker.upload_part(Bucket=own, Key="exchange/q/2", UploadId=upload, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    expect("worker uploads by parts", 200, worker.complete_multipart_upload, Bucket=own, Key="exchange/q/2", UploadId=upload, MultipartUpload=parts)
    upload = worker.create_multipart_upload(Bucket=own, Key="exchange/q/3")["UploadId"]
    expect("worker aborts an upload", 204, worker.abort_multipart_upload, Bucket=own, Key="exchange/q/3", UploadId=upload)

    for key in ("queries/p/q.json", "tokens/p/t.json", "results/q.json", "exchange/q/cancel"):
        expect(f"coordinator writes {key}", 200, coordinator.put_object, Bucket=own, Key=key, Body=b"x")
        expect(f"coordinator reads {key}", 200, coordinator.get_object, Bucket=own, Key=key)
    expect("coordinator writes elsewhere", 403, coordinator.put_object, Bucket=own, Key="x", Body=b"")
    expect("coordinator creates a record twice", 412, coordinator.put_object, Bucket=own, Key="queries/p/q.json", Body=b"", IfNoneMatch="*")
    expect("coordinator reads a missing record", 404, coordinator.get_object, Bucket=own, Key="queries/p/none.json")
    expect("coordinator reads a missing token", 404, coordinator.get_object, Bucket=own, Key="tokens/p/none.json")
    expect("coordinator reads data", 200, coordinator.get_object, Bucket=data, Key="tables/t/a b.csv")
    expect("coordinator reads a missing data file", 404, coordinator.get_object, Bucket=data, Key="tables/none")
    expect("coordinator lists data", 200, coordinator.list_objects_v2, Bucket=data, Prefix="tables/t/")
    expect("coordinator lists other data", 403, coordinator.list_objects_v2, Bucket=data, Prefix="other/")
    expect("coordinator lists the whole data bucket", 403, coordinator.list_objects_v2, Bucket=data)
    expect("coordinator writes data", 403, coordinator.put_object, Bucket=data, Key="tables/x", Body=b"")
    expect("coordinator lists queries", 200, coordinator.list_objects_v2, Bucket=own, Prefix="queries/p/")
    expect("coordinator lists the exchange", 200, coordinator.list_objects_v2, Bucket=own, Prefix="exchange/q/")
    expect("coordinator lists its whole bucket", 403, coordinator.list_objects_v2, Bucket=own)
    expect("coordinator deletes a record", 403, coordinator.delete_object, Bucket=own, Key="queries/p/q.json")
    keys = {"Objects": [{"Key": "exchange/q/1"}, {"Key": "exchange/q/2"}]}
    expect("coordinator deletes many of the exchange", 200, coordinator.delete_objects, Bucket=own, Delete=keys)
    expect("coordinator deletes many records", "AccessDenied", coordinator.delete_objects, Bucket=own, Delete={"Objects": [{"Key": "queries/p/q.json"}]})
    expect("coordinator deletes one of the exchange", 204, coordinator.delete_object, Bucket=own, Key="exchange/q/cancel")
    left = coordinator.list_objects_v2(Bucket=own, Prefix="exchange/").get("KeyCount")
    check("lab: the exchange is empty", left == 0, left)
    expect("an unknown key", 403, stranger.get_object, Bucket=data, Key="tables/t/a b.csv")
    expect("a wrong secret", 403, forger.get_object, Bucket=data, Key="tables/t/a b.csv")

    def status(url):
        try:
            with urllib.request.urlopen(url) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    url = coordinator.generate_presigned_url("get_object", Params={"Bucket": own, "Key": "results/q.json"})
    check("lab: a presigned result: 200", status(url) == 200, status(url))
    url = worker.generate_presigned_url("get_object", Params={"Bucket": own, "Key": "results/q.json"})
    check("lab: a result presigned by the worker: 403", status(url) == 403, status(url))
    anonymous = status(f"{hello['endpoint']}/{own}/results/q.json")
    check("lab: a result without signature: 403", anonymous == 403, anonymous)

    used = ask(used="worker")
    pairs = {(pair["statement"], pair["action"]) for pair in used["used"]}
    wanted = {("Exchange", "s3:GetObject"), ("Exchange", "s3:PutObject"), ("Exchange", "s3:AbortMultipartUpload"), ("ReadData", "s3:GetObject")}
    check("lab: tells what the worker used", pairs == wanted and used["denied"], used)
    for role in ("coordinator", "worker"):
        actions = ask(actions=role)["actions"]
        check(f"lab: lists the actions of the {role}", all(pair.keys() == {"statement", "action", "skip"} for pair in actions) and actions, actions)
    expect("worker writes before the change", 200, worker.put_object, Bucket=own, Key="exchange/q/4", Body=b"x")
    check("lab: takes an action out", ask(replace="worker", without=["Exchange", "s3:GetObject"]) == {"ok": True})
    expect("worker reads the exchange without the action", 403, worker.get_object, Bucket=own, Key="exchange/q/4")
    expect("worker writes without the other action", 200, worker.put_object, Bucket=own, Key="exchange/q/5", Body=b"x")
    check("lab: restores the policy", ask(restore="worker") == {"ok": True})
    expect("worker reads the exchange again", 200, worker.get_object, Bucket=own, Key="exchange/q/4")
    invoke = {"action": "lambda:InvokeFunction", "resource": f"arn:aws:lambda:{hello['region']}:{hello['account']}:function:owlet-worker:live"}
    check("lab: coordinator may invoke worker:live", ask(decide="coordinator", **invoke)["statement"] == "InvokeWorker")
    check("lab: worker may not", ask(decide="worker", **invoke)["allowed"] is False)
    latest = invoke | {"resource": invoke["resource"].replace("live", "$LATEST")}
    check("lab: coordinator may not invoke worker:$LATEST", ask(decide="coordinator", **latest)["allowed"] is False)
    check("lab: answers mistakes", "error" in ask(replace="worker", without=["Nothing", "s3:GetObject"]) and "error" in ask(nonsense=1))
    lab.stdin.write('{"stop": true}\n')
    lab.stdin.flush()
    check("lab: stops", lab.wait(timeout=20) == 0)


if __name__ == "__main__":
    main()
    sys.exit(failures > 0)
