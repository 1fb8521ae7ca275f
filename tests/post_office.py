"Servers on loopback that really receive: a webhook, a mail server, and addresses where nobody answers."
import http.server, json, socket, threading, time
from email import message_from_bytes, policy
from contextlib import contextmanager

class Webhook:
    "A webhook that keeps what it is given; `answer` is its status code, `wait` how long it takes to give it."
    def __init__(self):
        self.got, self.answer, self.wait = [], 200, 0.0
        hook = self
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                hook.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))) | {"path": self.path})
                time.sleep(hook.wait)
                try: self.send_response(hook.answer); self.end_headers()
                except OSError: pass # the sender has gone
            def log_message(self, *a): pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(.05,), daemon=True).start()
    def url(self, path: str = "") -> str: return f"json://127.0.0.1:{self.server.server_port}/{path}"
    def close(self): self.server.shutdown(); self.server.server_close()

def free_port() -> int:
    with socket.socket() as s: s.bind(("127.0.0.1", 0)); return s.getsockname()[1]

class MailServer:
    "An SMTP server that keeps messages."
    def __init__(self):
        from aiosmtpd.controller import Controller
        self.got, box = [], self
        class Handler:
            async def handle_DATA(self, server, session, envelope): box.got.append(message_from_bytes(envelope.content, policy=policy.default)); return "250 OK"
        self.port = free_port()
        self.controller = Controller(Handler(), hostname="127.0.0.1", port=self.port); self.controller.start()
    def url(self) -> str: return mail_url(self.port)
    def close(self): self.controller.stop()

mail_url = lambda port, login="": f"mailto://{login}127.0.0.1:{port}/?from=nbprops@example.org&to=reader@example.org&smtp=127.0.0.1"

@contextmanager
def opened(*kinds):
    servers = [k() for k in kinds]
    try: yield servers
    finally:
        for s in servers: s.close()

@contextmanager
def deaf_port():
    "A port that takes a connection and never says a word."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0)); s.listen(8)
        yield s.getsockname()[1]
