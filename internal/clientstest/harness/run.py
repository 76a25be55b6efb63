"""Runs a block of docs/clients.md with what it calls."""
import json
import runpy
import sys


def tell(kind, data):
    print(json.dumps({"kind": kind, "data": data}), flush=True)


def refetch(gap=None):
    tell("refetch", json.dumps(gap) if gap else "")


runpy.run_path(sys.argv[1], init_globals={"apply": lambda text: tell("apply", text), "refetch": refetch})
