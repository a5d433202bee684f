// Prints what a server in Go would call for each message: a base64 text per line on stdin, a JSON
// line per message on stdout: {"struct": calls, "decoder": calls, "map": calls}, null for an error.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
)

type params struct {
	Name *string         `json:"name"`
	URI  *string         `json:"uri"`
	Meta json.RawMessage `json:"_meta"`
}

type message struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  *string         `json:"method"`
	Params  *params         `json:"params"`
}

type call [3]*string

func calls(read func(into any) error) []call {
	var many []message
	if read(&many) != nil {
		var one message
		if read(&one) != nil {
			return nil
		}
		many = []message{one}
	}
	found := []call{}
	for _, each := range many {
		if each.Method == nil {
			continue
		}
		made := call{each.Method}
		if each.Params != nil {
			made[1], made[2] = each.Params.Name, each.Params.URI
		}
		found = append(found, made)
	}
	return found
}

func text(value any) *string {
	if found, ok := value.(string); ok {
		return &found
	}
	return nil
}

func mapped(data []byte) []call {
	var one map[string]any
	if json.Unmarshal(data, &one) != nil {
		return nil
	}
	if text(one["method"]) == nil {
		return []call{}
	}
	inner, _ := one["params"].(map[string]any)
	return []call{{text(one["method"]), text(inner["name"]), text(inner["uri"])}}
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines.Scan() {
		data, _ := base64.StdEncoding.DecodeString(lines.Text())
		found, _ := json.Marshal(map[string][]call{
			"struct": calls(func(into any) error { return json.Unmarshal(data, into) }),
			"decoder": calls(func(into any) error {
				return json.NewDecoder(bytes.NewReader(data)).Decode(into)
			}),
			"map": mapped(data),
		})
		out.Write(found)
		out.WriteString("\n")
	}
}
