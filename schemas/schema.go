package schemas

import (
	"embed"
	"fmt"
)

//go:embed *.schema.json
var jsonSchemas embed.FS

// JSONSchema is a JSON Schema (draft 2020-12) by its name: "event".
func JSONSchema(name string) ([]byte, error) {
	b, err := jsonSchemas.ReadFile(name + ".schema.json")
	if err != nil {
		return nil, fmt.Errorf("json schema %q: there is only event", cut(name, 40))
	}
	return b, nil
}
