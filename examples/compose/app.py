"""A page, and a job whose progress it shows. All that the app has to do with the gateway is to PUBLISH."""
import json, os, pathlib, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import redis

client = redis.Redis.from_url(os.environ["REDIS_URL"])

def work():
    for done in range(0, 101, 5):
        client.publish("progress", json.dumps({"done": done}))
        time.sleep(0.2)

class App(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(pathlib.Path(__file__).with_name("index.html").read_bytes())

    def do_POST(self):
        threading.Thread(target=work).start()
        self.send_response(202)
        self.end_headers()

ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))), App).serve_forever()
