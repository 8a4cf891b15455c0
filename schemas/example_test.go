package schemas_test

import (
	"fmt"

	"github.com/dermai/millrace/schemas"
)

// A line of a log file becomes what is stored.
func Example() {
	line := []byte(`{"timestamp":"2025-11-27 10:30:45,123","level":"warn","message":"Slow database query","duration_ms":1840,"db_password":"hunter2"}`)
	e, err := schemas.Decode(line, schemas.Origin{Kind: schemas.KindLog, Service: "api"})
	if err != nil {
		fmt.Println(err)
		return
	}
	n := schemas.Redact(&e)
	line, err = schemas.AppendJSON(nil, &e)
	fmt.Println(n, string(line), err)
	// Output: 1 {"timestamp":"2025-11-27T10:30:45.123Z","kind":"log","service":"api","level":"WARNING","message":"Slow database query","attributes":{"db_password":"[redacted]","duration_ms":1840}} <nil>
}

// A refusal names the place, the reason and the mend.
func ExampleDecode_refused() {
	_, err := schemas.Decode([]byte(`{"service":"api","attributes":{"items":[{"price":NaN}]}}`), schemas.Origin{})
	fmt.Println(err)
	// Output: attributes.items[0].price: not valid JSON at byte 49; JSON has no NaN: send null or leave it out
}

func ExampleNormalizeSQL() {
	fmt.Println(schemas.NormalizeSQL("SELECT * FROM patients WHERE name = 'O''Brien' AND id IN (1, 2, 3)"))
	// Output: SELECT * FROM patients WHERE name = ? AND id IN (?)
}

func ExampleGroupOf() {
	group := schemas.GroupOf([]string{"service", "job"}, []string{"api", "a,b"})
	fmt.Println(group, schemas.ParseGroup(group))
	// Output: service=api,job=a%2Cb [{service api} {job a,b}]
}
