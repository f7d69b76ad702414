"""Takes a spool, is refused it as another worker, and releases it.

Usage: python3 tomar.py [tag]

The service is at GRAPHQL_URL; CREDENTIAL is a key or a token, if it asks for one.
tomar.go does the same in Go.
"""

import http.client
import json
import os
import sys
import urllib.error
import urllib.request
import uuid

URL = os.environ.get("GRAPHQL_URL", "http://localhost:8080/graphql")


class Refused(Exception):
    """Raised for an answer with errors. extensions are the facts of the first one."""

    def __init__(self, error):
        self.extensions = error["extensions"]
        super().__init__(f"{self.extensions['code']}: {error['message']}")


def send(query, request):
    """Sends one request and returns the data of its answer. Raises Refused, or OSError,
    http.client.HTTPException or ValueError if there is no answer of the service."""
    headers = {"Content-Type": "application/json"}
    if os.environ.get("CREDENTIAL"):
        headers["Authorization"] = "Bearer " + os.environ["CREDENTIAL"]
    body = json.dumps({"query": query, "variables": {"input": request}}).encode()
    try:
        response = urllib.request.urlopen(urllib.request.Request(URL, body, headers), timeout=10)
    except urllib.error.HTTPError as refused:  # its body is an answer too
        response = refused
    with response:
        answer = json.load(response)
    if answer.get("errors"):
        raise Refused(answer["errors"][0])
    return answer["data"]


def take(tag, worker_id, worker_name):
    """Takes the spool for the worker. Raises Refused with SPOOL_OCCUPIED if another lock
    holds the spool."""
    query = """mutation($input: TomarSpoolInput!) {
        tomarSpool(input: $input) { lockToken lock { version expiresAt } }
    }"""
    request = {
        "tagSpool": tag, "workerId": worker_id, "workerNombre": worker_name,
        "requestId": str(uuid.uuid4()),  # one for all attempts, so a retry is safe
    }
    for attempt in (1, 2, 3):
        try:
            return send(query, request)["tomarSpool"]
        except (Refused, OSError, http.client.HTTPException, ValueError) as error:
            answered = isinstance(error, Refused)
            if attempt == 3 or answered and error.extensions["code"] != "SERVICE_UNAVAILABLE":
                raise


def release(tag, token):
    """Releases the spool and returns what became of the token."""
    query = "mutation($input: ReleaseSpoolInput!) { releaseSpool(input: $input) { outcome } }"
    return send(query, {"tagSpool": tag, "lockToken": token})["releaseSpool"]["outcome"]


def main():
    tag = sys.argv[1] if len(sys.argv) > 1 else "MK-1335-CW-25238-014"
    taken = take(tag, "93", "MR(93)")
    print(tag, "is ours until", taken["lock"]["expiresAt"])
    try:
        take(tag, "94", "JP(94)")
    except Refused as refused:
        if refused.extensions["code"] != "SPOOL_OCCUPIED":
            raise
        print(tag, "is held by", refused.extensions["ownerName"], "until", refused.extensions["expiresAt"])
    else:
        sys.exit("the second take was not refused")
    print(tag, release(tag, taken["lockToken"]))


if __name__ == "__main__":
    main()
