package seedapp_test

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
)

var block = regexp.MustCompile("(?ms)^( *)```(python|bash)\n(.*?)^ *```$")

// elsewhere are blocks of the guide that no file of the application holds, by
// how they begin, and why.
var elsewhere = map[string]string{
	"pip install prometheus-client": "a command",
	"LOG_LEVEL=WARNING":             "the environment",
	"from pythonjsonlogger import":  "a queue that is not declared, for loads that this application does not have",
}

// TestGuide: every block of Python in the guide is in a file of the
// application, byte for byte.
func TestGuide(t *testing.T) {
	guide, err := os.ReadFile("testdata/guide.md")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	app := os.DirFS("application")
	err = fs.WalkDir(app, ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".py") {
			return err
		}
		b, err := fs.ReadFile(app, name)
		files = append(files, string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, m := range block.FindAllStringSubmatch(string(guide), -1) {
		code := regexp.MustCompile("(?m)^"+m[1]).ReplaceAllString(m[3], "")
		if at := strings.Index(code, "import psutil\n"); m[2] == "bash" && at >= 0 {
			code = code[at:]
		}
		if known(code) {
			continue
		}
		in := 0
		for _, f := range files {
			if strings.Contains("\n"+f, "\n"+code) {
				in++
			}
		}
		if in != 1 {
			t.Errorf("%d files of the application hold this block of the guide:\n%s", in, code)
		}
		found++
	}
	if found < 11 {
		t.Errorf("only %d blocks were looked for", found)
	}
}

func known(code string) bool {
	for prefix := range elsewhere {
		if strings.HasPrefix(code, prefix) {
			return true
		}
	}
	return false
}
