package schemas_test

import (
	"strings"
	"testing"

	"github.com/dermai/millrace/schemas"
)

func TestNormalizeSQL(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"", ""},
		{"SELECT * FROM patients WHERE id = 42", "SELECT * FROM patients WHERE id = ?"},
		{"SELECT a1, b_2 FROM t3 WHERE x=1.5e-3 AND y = -.5 OR z=0xFF", "SELECT a1, b_2 FROM t3 WHERE x=? AND y = -? OR z=?"},
		{"SELECT *\n  FROM t\tWHERE name = 'O''Brien'  AND x", "SELECT * FROM t WHERE name = ? AND x"},
		{"WHERE id IN (1, 2,3 , 'a')", "WHERE id IN (?)"},
		{"INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y')", "INSERT INTO t (a, b) VALUES (?), (?)"},
		{"INSERT INTO t VALUES (1, now(), 2)", "INSERT INTO t VALUES (?, now(), ?)"},
		{"WHERE a = E'it\\'s Smith' AND b = 'Jones'", "WHERE a = ?"},
		{"WHERE a = 'C:\\' AND b = 'Jones'", "WHERE a = ?"},
		{"WHERE a = 'x\\n' AND b = 'Jones'", "WHERE a = ? AND b = ?"},
		{"WHERE a = X'1F' AND b = N'Jones' AND n = 1", "WHERE a = ? AND b = ? AND n = ?"},
		{"WHERE name = \"Jones\" AND `select` = 1", "WHERE name = ? AND `select` = ?"},
		{"WHERE a = $$Jones$$ AND b = $x$it's $$ Jones$x$ AND c = $1", "WHERE a = ? AND b = ? AND c = ?"},
		{"WHERE a = $$cut Jones", "WHERE a = ?"},
		{"WHERE a = 'cut off Jo", "WHERE a = ?"},
		{"SELECT 1 -- for Jones\n, x", "SELECT ?, x"},
		{"SELECT /* for /* Jones */ x */ y /* cut Jones", "SELECT y"},
		{"WHERE id = %s AND name = :name AND b = ?", "WHERE id = %s AND name = :name AND b = ?"},
		{"WHERE a = 1 AND b BETWEEN 2 AND 3 LIMIT 10", "WHERE a = ? AND b BETWEEN ? AND ? LIMIT ?"},
		{"SELECT a->>'name', b#>1", "SELECT a->>?, b#>?"},
		{"SELECT 'žluť', žluť", "SELECT ?, žluť"},
		{"a.b . c", "a.b . c"},
		{"`cut", "`cut"},
		{"$", "$"},
	} {
		if got := schemas.NormalizeSQL(c.sql); got != c.want {
			t.Errorf("%q\nbecame %q\nwant   %q", c.sql, got, c.want)
		}
	}
}

func TestNormalizeSQLTwice(t *testing.T) {
	for _, sql := range []string{"SELECT a FROM t WHERE b IN ('x', 2) AND c = \"y\" /* z */", "WHERE a = 'C:\\' AND b = 'Jones'"} {
		once := schemas.NormalizeSQL(sql)
		if twice := schemas.NormalizeSQL(once); twice != once {
			t.Errorf("%q, then %q", once, twice)
		}
	}
}

// FuzzNormalizeSQL: a marked text in a string never gets out, whatever stands
// before and behind, as long as what stands before closes its own quotes.
func FuzzNormalizeSQL(f *testing.F) {
	f.Add("SELECT * FROM t WHERE a = ", " AND b = 1")
	f.Add("SELECT 1, ", " -- x")
	f.Fuzz(func(t *testing.T, before, behind string) {
		if strings.ContainsAny(before, "'\"`$\\-/") {
			return
		}
		const name = "J0nesSm1th"
		got := schemas.NormalizeSQL(before + "'" + name + "' " + behind)
		if strings.Contains(got, name) && !strings.Contains(before+behind, name) {
			t.Fatalf("%q and %q: %q", before, behind, got)
		}
	})
}
