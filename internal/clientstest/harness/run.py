"""Runs a block of docs/clients.md with what it calls."""
import json
import runpy
import sys


def telling(kind):
    return lambda value: print(json.dumps({"kind": kind, "data": json.dumps(value)}), flush=True)


runpy.run_path(sys.argv[1], init_globals={"apply": telling("apply"), "refetch": telling("refetch")})
