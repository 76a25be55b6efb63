#!/bin/sh
# Installs what the tests of the AI SDKs need beside the browsers of
# install-browsers.sh: the SDKs, from npm, and a Node that all of them run on,
# which Debian 12's is too old for.
set -eu
cd "$(dirname "$0")/../internal/aitest"

npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

# Each really loads.
for node in node_modules/node-linux-*/bin/node; do
	"$node" --input-type=module -e '
		for (const sdk of ["ai5", "ai6", "ai7", "openai6", "openai7", "@anthropic-ai/sdk", "@ag-ui/client", "@langchain/langgraph-sdk", "eventsource"])
			await import(sdk);
		console.log("the SDKs run on node", process.version);'
done
