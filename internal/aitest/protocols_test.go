//go:build ai && linux

package aitest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// protocol is how a product writes an answer: the payloads that its worker publishes.
type protocol struct {
	name    string // what the channels of its answers begin with
	path    string // what its SDK asks
	opening func(id string) []object
	token   func(id string, n int, text string) object
	closing func(id, text string) []object // of a whole answer that had so much text
	stopped func(id, text string) []object // of one that somebody stopped; nil if the same
	done    bool                           // [DONE] comes last
}

type object = map[string]any

var protocols = []protocol{
	{
		name: "ui", path: "/api/chat", done: true,
		opening: func(id string) []object {
			return []object{{"type": "start", "messageId": "m-" + id}, {"type": "start-step"}, {"type": "text-start", "id": "0"}}
		},
		token: func(_ string, _ int, text string) object {
			return object{"type": "text-delta", "id": "0", "delta": text}
		},
		closing: func(string, string) []object {
			return []object{{"type": "text-end", "id": "0"}, {"type": "finish-step"}, {"type": "finish"}}
		},
		stopped: func(string, string) []object { return []object{{"type": "text-end", "id": "0"}, {"type": "abort"}} },
	},
	{
		name: "completions", path: "/v1/chat/completions", done: true,
		opening: func(id string) []object {
			return []object{completion(id, object{"role": "assistant", "content": ""}, nil)}
		},
		token:   func(id string, _ int, text string) object { return completion(id, object{"content": text}, nil) },
		closing: func(id, _ string) []object { return []object{completion(id, object{}, "stop")} },
	},
	{
		name: "responses", path: "/v1/responses",
		opening: func(id string) []object {
			return []object{
				{"type": "response.created", "sequence_number": 0, "response": response(id, "in_progress", "")},
				{"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": outputItem("in_progress", "")},
				outputPart("response.content_part.added", 2, "part", outputText("")),
			}
		},
		token: func(_ string, n int, text string) object {
			return outputPart("response.output_text.delta", n+3, "delta", text)
		},
		closing: func(id, text string) []object { return responseEnd(id, "completed", text) },
		stopped: func(id, text string) []object { return responseEnd(id, "incomplete", text) },
	},
	{
		name: "anthropic", path: "/v1/messages",
		opening: func(id string) []object {
			return []object{
				{"type": "message_start", "message": object{
					"id": id, "type": "message", "role": "assistant", "model": "m", "content": []any{},
					"stop_reason": nil, "usage": object{"input_tokens": 1, "output_tokens": 1},
				}},
				{"type": "content_block_start", "index": 0, "content_block": object{"type": "text", "text": ""}},
			}
		},
		token: func(_ string, _ int, text string) object {
			return object{"type": "content_block_delta", "index": 0, "delta": object{"type": "text_delta", "text": text}}
		},
		closing: func(string, string) []object { return messageEnd("end_turn") },
		stopped: func(string, string) []object { return messageEnd("pause_turn") },
	},
	{
		name: "agui", path: "/agui",
		opening: func(id string) []object {
			return []object{
				{"type": "RUN_STARTED", "threadId": id, "runId": id},
				{"type": "TEXT_MESSAGE_START", "messageId": "m-" + id, "role": "assistant"},
			}
		},
		token: func(id string, _ int, text string) object {
			return object{"type": "TEXT_MESSAGE_CONTENT", "messageId": "m-" + id, "delta": text}
		},
		closing: func(id, _ string) []object {
			return []object{
				{"type": "TEXT_MESSAGE_END", "messageId": "m-" + id}, {"type": "RUN_FINISHED", "threadId": id, "runId": id},
			}
		},
	},
	{
		name: "langgraph", path: "/threads/",
		opening: func(id string) []object {
			return []object{{"event": "metadata", "data": object{"run_id": id, "attempt": 1}}}
		},
		token: func(id string, _ int, text string) object {
			return object{"event": "messages", "data": []any{object{"content": text, "id": "m-" + id, "type": "AIMessageChunk"}, object{}}}
		},
		closing: func(string, string) []object { return []object{{"event": "end", "data": nil}} },
	},
	{
		name: "es", path: "/ask", done: true,
		opening: func(string) []object { return []object{{"delta": ""}} },
		token:   func(_ string, _ int, text string) object { return object{"delta": text} },
		closing: func(string, string) []object { return nil },
	},
}

func completion(id string, delta object, reason any) object {
	return object{
		"id": id, "object": "chat.completion.chunk", "created": 1, "model": "m",
		"choices": []any{object{"index": 0, "delta": delta, "finish_reason": reason}},
	}
}

func response(id, status, text string) object {
	r := object{"id": id, "object": "response", "created_at": 1, "model": "m", "status": status, "output": []any{}}
	if text != "" {
		r["output"] = []any{outputItem("completed", text)}
	}
	return r
}

func outputText(text string) object {
	return object{"type": "output_text", "text": text, "annotations": []any{}}
}

func outputItem(status, text string) object {
	item := object{"type": "message", "id": "msg", "role": "assistant", "status": status, "content": []any{}}
	if text != "" {
		item["content"] = []any{outputText(text)}
	}
	return item
}

func outputPart(kind string, seq int, key string, value any) object {
	return object{"type": kind, "sequence_number": seq, "item_id": "msg", "output_index": 0, "content_index": 0, key: value}
}

func responseEnd(id, status, text string) []object {
	const seq = 1_000_000 // behind each token's
	return []object{
		outputPart("response.output_text.done", seq, "text", text),
		outputPart("response.content_part.done", seq+1, "part", outputText(text)),
		{"type": "response.output_item.done", "sequence_number": seq + 2, "output_index": 0, "item": outputItem("completed", text)},
		{"type": "response." + status, "sequence_number": seq + 3, "response": response(id, status, text)},
	}
}

func messageEnd(reason string) []object {
	return []object{
		{"type": "content_block_stop", "index": 0},
		{"type": "message_delta", "delta": object{"stop_reason": reason, "stop_sequence": nil}, "usage": object{"output_tokens": 1}},
		{"type": "message_stop"},
	}
}

// payloads are what a worker publishes of some objects.
func payloads(t testing.TB, objects ...object) (all []string) {
	t.Helper()
	for _, o := range objects {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return all
}

// token is the nth of an answer's, with what has to be escaped and what is more than a byte.
func token(n int) string { return fmt.Sprintf("%d\t„é\" ", n) }

// textOf is the text of tokens from one number up to another one.
func textOf(from, to int) string {
	var b strings.Builder
	for n := from; n < to; n++ {
		b.WriteString(token(n))
	}
	return b.String()
}
