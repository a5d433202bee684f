// Prints what programs in Go find in each text: a base64 text per line on stdin, a JSON line per text
// on stdout: {"struct": found, "decoder": found, "map": found}, null for an error. With the argument
// `calls`: the calls that a server would make of a message: method, name and address, the reference
// of a completion, the subscriptions, and each address as net/url has it. With `lists`: the names
// in a result, by kind.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"
	"path"
	"strings"
)

type reference struct {
	Type *string `json:"type"`
	Name *string `json:"name"`
	URI  *string `json:"uri"`
}

type notifications struct {
	ResourceSubscriptions []string `json:"resourceSubscriptions"`
}

type params struct {
	Name          *string         `json:"name"`
	URI           *string         `json:"uri"`
	Ref           json.RawMessage `json:"ref"`
	Notifications json.RawMessage `json:"notifications"`
	Meta          json.RawMessage `json:"_meta"`
}

type message struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  *string         `json:"method"`
	Params  *params         `json:"params"`
}

type entry struct {
	Name        *string `json:"name"`
	URI         *string `json:"uri"`
	URITemplate *string `json:"uriTemplate"`
}

type answer struct {
	Result struct {
		Tools             []entry `json:"tools"`
		Prompts           []entry `json:"prompts"`
		Resources         []entry `json:"resources"`
		ResourceTemplates []entry `json:"resourceTemplates"`
	} `json:"result"`
}

func forms(uri string) []string {
	parsed, err := url.Parse(uri)
	if err != nil {
		return []string{}
	}
	cleaned := path.Clean(parsed.Path)
	if strings.HasSuffix(parsed.Path, "/") && cleaned != "/" {
		cleaned += "/"
	}
	if parsed.Path == "" {
		cleaned = ""
	}
	shortened := *parsed
	shortened.Path, shortened.RawPath = cleaned, ""
	shortened.Host = strings.ToLower(shortened.Host)
	return []string{parsed.String(), shortened.String()}
}

func call(method, name, uri *string, ref reference, subscriptions []string) []any {
	if subscriptions == nil {
		subscriptions = []string{}
	}
	found := map[string][]string{}
	for _, each := range append([]string{}, subscriptions...) {
		found[each] = forms(each)
	}
	for _, each := range []*string{uri, ref.URI} {
		if each != nil {
			found[*each] = forms(*each)
		}
	}
	return []any{method, name, uri, []*string{ref.Type, ref.Name, ref.URI}, subscriptions, found}
}

func calls(read func(into any) error) any {
	var many []message
	if read(&many) != nil {
		var one message
		if read(&one) != nil {
			return nil
		}
		many = []message{one}
	}
	found := [][]any{}
	for _, each := range many {
		if each.Method == nil {
			continue
		}
		given := params{}
		if each.Params != nil {
			given = *each.Params
		}
		var ref reference
		var wanted notifications
		json.Unmarshal(given.Ref, &ref)
		json.Unmarshal(given.Notifications, &wanted)
		found = append(
			found, call(each.Method, given.Name, given.URI, ref, wanted.ResourceSubscriptions))
	}
	return found
}

func text(value any) *string {
	if found, ok := value.(string); ok {
		return &found
	}
	return nil
}

func texts(value any) []string {
	found := []string{}
	many, _ := value.([]any)
	for _, each := range many {
		if one := text(each); one != nil {
			found = append(found, *one)
		}
	}
	return found
}

func object(value any) map[string]any {
	found, _ := value.(map[string]any)
	return found
}

func mapped(read func(into any) error) any {
	var one map[string]any
	if read(&one) != nil {
		return nil
	}
	if text(one["method"]) == nil {
		return [][]any{}
	}
	inner := object(one["params"])
	ref, wanted := object(inner["ref"]), object(inner["notifications"])
	return [][]any{call(
		text(one["method"]),
		text(inner["name"]),
		text(inner["uri"]),
		reference{text(ref["type"]), text(ref["name"]), text(ref["uri"])},
		texts(wanted["resourceSubscriptions"]),
	)}
}

func names(entries []entry, of func(entry) *string) []string {
	found := []string{}
	for _, each := range entries {
		if name := of(each); name != nil {
			found = append(found, *name)
		}
	}
	return found
}

func lists(read func(into any) error) any {
	var found answer
	if read(&found) != nil {
		return nil
	}
	name := func(each entry) *string { return each.Name }
	return map[string][]string{
		"tools":     names(found.Result.Tools, name),
		"prompts":   names(found.Result.Prompts, name),
		"resources": names(found.Result.Resources, func(each entry) *string { return each.URI }),
		"resourceTemplates": names(
			found.Result.ResourceTemplates, func(each entry) *string { return each.URITemplate }),
	}
}

func mappedLists(read func(into any) error) any {
	var one map[string]any
	if read(&one) != nil {
		return nil
	}
	result, found := object(one["result"]), map[string][]string{}
	members := map[string]string{
		"tools": "name", "prompts": "name", "resources": "uri", "resourceTemplates": "uriTemplate"}
	for kind, member := range members {
		found[kind] = []string{}
		entries, _ := result[kind].([]any)
		for _, each := range entries {
			if name := text(object(each)[member]); name != nil {
				found[kind] = append(found[kind], *name)
			}
		}
	}
	return found
}

func main() {
	read, readMap := calls, mapped
	if os.Args[1] == "lists" {
		read, readMap = lists, mappedLists
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines.Scan() {
		data, _ := base64.StdEncoding.DecodeString(lines.Text())
		whole := func(into any) error { return json.Unmarshal(data, into) }
		first := func(into any) error { return json.NewDecoder(bytes.NewReader(data)).Decode(into) }
		found, _ := json.Marshal(
			map[string]any{"struct": read(whole), "decoder": read(first), "map": readMap(whole)})
		out.Write(found)
		out.WriteString("\n")
	}
}
