package rules

import (
	"slices"
	"sync"

	"github.com/dermai/millrace/schemas"
)

// Cache remembers what rule files were compiled to, so that the machines of a
// process share it. The zero value is ready. It is safe for concurrent use, and
// meant for the few rule sets of a deployment: it forgets nothing.
type Cache struct {
	mu     sync.Mutex
	parsed []parsed
}

type parsed struct {
	files []schemas.RuleFile
	set   *Set
}

// Parse is Parse, once for the same files. The caller does not change the set.
func (c *Cache) Parse(files ...schemas.RuleFile) (*Set, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.parsed {
		if slices.Equal(p.files, files) {
			return p.set, nil
		}
	}
	set, err := Parse(files...)
	if err == nil {
		c.parsed = append(c.parsed, parsed{slices.Clone(files), set})
	}
	return set, err
}
