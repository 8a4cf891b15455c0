package notify

import "encoding/json"

func encode(v any) ([]byte, error)           { return json.Marshal(v) }
func decodeInto(data []byte, into any) error { return json.Unmarshal(data, into) }
