"""A kubectl for tests: `port-forward` to a port of this machine.

What it does stands in the file that it takes for its kubeconfig: {"port": …, "mode": …}. It looks there
at each connection, as a pod can change behind a kubectl that stays. Like the real one it ends as a
whole when one connection fails, and keeps the end of an answer for a second, unless the request has
ended before.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path

KUBECONFIG = Path(sys.argv[sys.argv.index("--kubeconfig") + 1])


def told() -> dict:
    return json.loads(KUBECONFIG.read_text())


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def fail(why: str) -> None:
    say(f"E1124 15:31:54.000000   123 portforward.go:424] an error occurred forwarding 8080 -> 8080: {why}")
    say("error: lost connection to pod")
    os._exit(1)


def pump(client: socket.socket, pod: socket.socket) -> None:
    try:
        while data := client.recv(65536):
            pod.sendall(data)
        pod.shutdown(socket.SHUT_WR)
    except OSError as error:
        fail(f"error forwarding port 8080 to pod abc, uid : {error}")


def serve(client: socket.socket) -> None:
    print("Handling connection for 8080", flush=True)
    now = told()
    if now["mode"] == "silent":
        time.sleep(3600)
    with client, socket.socket() as pod:
        try:
            pod.connect(("127.0.0.1", now["port"]))
        except OSError:
            fail("error forwarding port 8080 to pod abc, uid : connect: connection refused")
        up = threading.Thread(target=pump, args=(client, pod), daemon=True)
        up.start()
        try:
            while data := pod.recv(65536):
                client.sendall(data)
        except OSError as error:
            fail(f"error forwarding port 8080 to pod abc, uid : {error}")
        up.join(1.0)


def main() -> None:
    with KUBECONFIG.with_suffix(".started").open("a") as file:
        print(os.getpid(), time.monotonic(), file=file)
    if told()["mode"] == "refused":
        say("The connection to the server 127.0.0.1:6443 was refused - did you specify the right host?")
        sys.exit(1)
    if told()["mode"] == "straight":
        print(f"Forwarding from 127.0.0.1:{told()['port']} -> 8080", flush=True)
        time.sleep(3600)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(f"Forwarding from 127.0.0.1:{listener.getsockname()[1]} -> 8080", flush=True)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client,), daemon=True).start()


if __name__ == "__main__":
    main()
