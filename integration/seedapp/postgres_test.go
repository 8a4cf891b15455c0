package seedapp_test

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dermai/millrace/internal/testenv"
)

// database is a PostgreSQL with the tables of the application.
type database struct {
	url  string
	psql string
	dir  string
}

// newDatabase starts a server, which ends with the test.
func newDatabase(t *testing.T) *database {
	t.Helper()
	server, initdb := testenv.Need(t, "postgres"), testenv.Need(t, "initdb")
	testenv.Need(t, "pg_dump") // for the application's backup
	d := &database{psql: testenv.Need(t, "psql"), dir: t.TempDir()}
	data := filepath.Join(d.dir, "data")
	program := testenv.Program{Path: initdb, Dir: d.dir, NotRoot: true}
	program.Args = []string{"--pgdata=" + data, "--username=clinic", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"}
	program.Run(t)

	addr := testenv.FreeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	program.Path = server
	program.Args = []string{"-D", data, "-h", "127.0.0.1", "-p", port, "-c", "unix_socket_directories=", "-c", "fsync=off"}
	p := program.Start(t)
	d.url = "postgresql://clinic@" + addr + "/postgres"
	testenv.Eventually(t, "PostgreSQL takes connections", func() error {
		if said := p.Stderr(); !strings.Contains(said, "ready to accept connections") {
			return errors.New(said)
		}
		return nil
	})
	return d
}

// query runs statements, and returns what they print.
func (d *database) query(t *testing.T, statements string) string {
	t.Helper()
	out := testenv.Program{
		Path: d.psql, Dir: d.dir, Args: []string{"--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--dbname=" + d.url, "--command=" + statements},
	}.Run(t)
	return strings.TrimSpace(out)
}
