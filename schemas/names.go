package schemas

import "slices"

// names finds a name that is given twice in one object.
type names struct {
	looks uint64 // a bit for each look of a name: one of another look is another
	few   [12]string
	n     int
	many  map[string]struct{}
}

// again tells whether the name was given before, and takes note of it.
func (g *names) again(name string) bool {
	if g.many != nil {
		n := len(g.many)
		g.many[name] = struct{}{}
		return len(g.many) == n
	}
	look := len(name) * 37
	if name != "" {
		look += int(name[0])*11 + int(name[len(name)-1])
	}
	bit := uint64(1) << (look % 64)
	if g.looks&bit != 0 && slices.Contains(g.few[:g.n], name) {
		return true
	}
	g.looks |= bit
	if g.n == len(g.few) {
		g.many = map[string]struct{}{name: {}}
		for _, before := range g.few {
			g.many[before] = struct{}{}
		}
		return false
	}
	g.few[g.n] = name
	g.n++
	return false
}
