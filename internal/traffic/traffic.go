package traffic

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/dermai/millrace/schemas"
)

type service struct {
	name      string
	instances []string
	paths     []string
	queries   []string
}

var services = []service{{
	name:      "appointments",
	instances: []string{"appointments-1", "appointments-2"},
	paths:     []string{"/api/v1/appointments", "/api/v1/appointments/", "/api/v1/patients/", "/api/v1/calendar", "/api/v1/login"},
	queries:   []string{"SELECT * FROM appointments WHERE day = %s AND room = %s ORDER BY starts_at", "SELECT count(*) FROM appointments JOIN patients USING (patient_id)"},
}, {
	name:      "imaging",
	instances: []string{"imaging-1", "imaging-2", "imaging-3"},
	paths:     []string{"/api/v1/images/", "/api/v1/images", "/api/v1/analyses/", "/api/v1/lesions/"},
	queries:   []string{"SELECT data FROM images WHERE image_id = %s", "UPDATE analyses SET state = %s, score = %s WHERE analysis_id = %s"},
}, {
	name:      "billing",
	instances: []string{"billing-1"},
	paths:     []string{"/api/v1/invoices/", "/api/v1/invoices", "/api/v1/insurers/", "/healthz"},
	queries:   []string{"SELECT sum(amount) FROM invoices WHERE insurer_id = %s GROUP BY month", "INSERT INTO invoices (patient_id, amount) VALUES (%s, %s)"},
}}

var (
	methods  = []string{"GET", "GET", "GET", "POST", "PUT"}
	remarks  = []string{"Cache refreshed", "Session opened", "Session closed", "Reminder sent", "Report rendered"}
	actions  = []string{"READ", "READ", "READ", "UPDATE", "CREATE", "EXPORT"}
	failures = []string{
		`{"type":"OperationalError","message":"server closed the connection unexpectedly"}`,
		`{"type":"TimeoutError","message":"QueuePool limit of size 20 reached"}`,
		`{"type":"ValueError","message":"unknown insurer"}`,
	}
)

// poolSize is the size of every connection pool.
const poolSize = 20

// Generator makes events up. It is not safe for concurrent use.
type Generator struct {
	config   Config
	rand     *rand.Rand
	incident Incident
	service  *service  // of the incident
	began    bool      // the incident
	troubles []Trouble // that did not have their turn
	due      *job      // the backup whose outcome is to be told next; may be nil

	second int64  // of stamp
	stamp  []byte // 2006-01-02T15:04:05
}

type job struct {
	service *service
	failed  bool
}

// New returns a generator at its beginning.
func New(c Config) *Generator {
	if c.Calm <= 0 {
		c.Calm = 10 * time.Second
	}
	if c.Length <= 0 {
		c.Length = 25 * time.Second
	}
	return &Generator{config: c, rand: rand.New(rand.NewPCG(c.Seed, 0x6d696c6c72616365))}
}

// Next makes the next event, of the time now in Unix ns, which never decreases.
func (g *Generator) Next(now int64) schemas.Event {
	line, _, _ := g.AppendLine(nil, now)
	e, err := schemas.Decode(line, schemas.Origin{})
	if err != nil {
		panic("traffic: made up a line that is no event: " + err.Error())
	}
	return e
}

// AppendLine is Next without the detour: it appends the event's canonical JSON,
// without a newline, to dst.
func (g *Generator) AppendLine(dst []byte, now int64) (text []byte, kind schemas.Kind, service string) {
	g.advance(now)
	s := &services[g.rand.IntN(len(services))]
	shape := g.shape(s)
	if shape == backup {
		s = g.due.service
	}
	l := g.begin(dst, now, kinds[shape], s)
	switch shape {
	case request:
		l.request(s)
	case remark:
		l.text(`,"level":"INFO","logger":"app","message":"`, pick(g, remarks), `"`)
	case system:
		l.system(s)
	case pool:
		l.pool(s)
	case access:
		l.access()
	case query:
		l.query(s, 1+g.rand.IntN(400))
	case slowQuery:
		l.query(s, 1200+g.rand.IntN(6000))
	case backup:
		l.backup(g.due.failed)
		g.due = nil
	}
	return append(l.b, '}'), kinds[shape], s.name
}

// shape is what an event is about.
type shape int

const (
	request shape = iota
	remark
	system
	pool
	access
	query
	slowQuery
	backup
)

var kinds = [...]schemas.Kind{
	request: schemas.KindLog, remark: schemas.KindLog, query: schemas.KindLog, slowQuery: schemas.KindLog, backup: schemas.KindLog,
	system: schemas.KindMetric, pool: schemas.KindMetric,
	access: schemas.KindAudit,
}

// shape draws what the service's next event is about.
func (g *Generator) shape(s *service) shape {
	switch {
	case g.due != nil:
		return backup
	case g.trouble(s, SlowQueries, 30):
		return slowQuery
	case g.trouble(s, CPU, 20):
		return system
	case g.trouble(s, Pool, 20):
		return pool
	}
	switch n := g.rand.IntN(1000); {
	case n < 850:
		return request
	case n < 905:
		return remark
	case n < 930:
		return system
	case n < 940:
		return pool
	case n < 960:
		return access
	}
	return query
}

// advance brings the incident up to date.
func (g *Generator) advance(now int64) {
	i := &g.incident
	ends := g.began && now >= i.End
	begins := !g.began && i.Trouble != "" && now >= i.Start
	if begins || ends {
		g.began = begins
		if i.Trouble == Backup {
			g.due = &job{g.service, begins}
		}
	}
	if i.Trouble == "" || ends {
		g.plan(now)
	}
}

// trouble draws whether an incident of this kind shows in one event of the
// service, in so many of a hundred.
func (g *Generator) trouble(s *service, t Trouble, percent int) bool {
	return g.began && g.incident.Trouble == t && g.service == s && g.rand.IntN(100) < percent
}

func pick(g *Generator, of []string) string { return of[g.rand.IntN(len(of))] }

// line is an event that is being written, its members in their canonical order.
type line struct {
	*Generator
	b []byte
}

const (
	base32 = "0123456789abcdefghjkmnpqrstvwxyz"
	hex    = "0123456789abcdef"
)

// begin writes what every event has.
func (g *Generator) begin(dst []byte, now int64, kind schemas.Kind, s *service) line {
	l := line{g, append(dst, `{"timestamp":"`...)}
	if second := now / 1e9; second != g.second || g.stamp == nil {
		g.second = second
		g.stamp = time.Unix(second, 0).UTC().AppendFormat(g.stamp[:0], "2006-01-02T15:04:05")
	}
	l.b = append(l.b, g.stamp...)
	if us := now % 1e9 / 1e3; us > 0 {
		l.b = append(l.b, '.')
		for unit := int64(1e5); us > 0; unit /= 10 {
			l.b = append(l.b, '0'+byte(us/unit))
			us %= unit
		}
	}
	l.text(`Z","kind":"`, string(kind), `","service":"`, s.name, `","id":"`)
	for range 2 {
		for r, i := g.rand.Uint64(), 0; i < 10; i++ {
			l.b = append(l.b, base32[r&31])
			r >>= 5
		}
	}
	l.text(`","instance":"`, pick(g, s.instances), `"`)
	return l
}

// text appends texts as they are.
func (l *line) text(texts ...string) {
	for _, s := range texts {
		l.b = append(l.b, s...)
	}
}

func (l *line) int(before string, n int) {
	l.b = strconv.AppendInt(append(l.b, before...), int64(n), 10)
}

// hundredths writes n/100 as a number.
func (l *line) hundredths(before string, n int) {
	l.int(before, n/100)
	if d := n % 100; d > 0 {
		l.b = append(l.b, '.', '0'+byte(d/10))
		if d%10 > 0 {
			l.b = append(l.b, '0'+byte(d%10))
		}
	}
}

func (l *line) trace() {
	l.text(`,"trace_id":"`)
	l.hex16()
	l.hex16()
	l.text(`","span_id":"`)
	l.hex16()
	l.text(`"`)
}

func (l *line) hex16() {
	for r, i := l.rand.Uint64(), 0; i < 16; i++ {
		l.b = append(l.b, hex[r&15])
		r >>= 4
	}
}

func (l *line) request(s *service) {
	l.trace()
	status, level := 200, "INFO"
	switch r := l.rand.IntN(1000); {
	case r < 5 || l.trouble(s, Errors, 33):
		status, level = 500+l.rand.IntN(4), "ERROR"
	case r < 40:
		status, level = 400+l.rand.IntN(5), "WARNING"
	}
	l.text(`,"level":"`, level, `","logger":"app.http","message":"API request"`)
	if status >= 500 {
		l.text(`,"error":`, pick(l.Generator, failures))
	}
	// Most requests are quick, some are not: the product of two draws.
	took := 50 + l.rand.IntN(250)*(1+l.rand.IntN(40))
	if l.trouble(s, Latency, 60) {
		took += 250000 + l.rand.IntN(400000)
	}
	l.int(`,"attributes":{"client":"`, 11+l.rand.IntN(200))
	for range 3 {
		l.int(".", l.rand.IntN(256))
	}
	l.hundredths(`","duration_ms":`, took)
	path := pick(l.Generator, s.paths)
	l.text(`,"method":"`, pick(l.Generator, methods), `","path":"`, path)
	if path[len(path)-1] == '/' {
		l.hex16()
	}
	l.int(`","status_code":`, status)
	l.text("}")
}

func (l *line) system(s *service) {
	of := func(least, most int) int { return least + l.rand.IntN(most-least) }
	switch l.rand.IntN(3) {
	case 0:
		load := of(1500, 6500)
		if l.trouble(s, CPU, 100) {
			load = of(8800, 9990)
		}
		l.hundredths(`,"name":"system.cpu","type":"gauge","value":`, load)
	case 1:
		l.hundredths(`,"name":"system.memory_percent","type":"gauge","value":`, of(4000, 7000))
	default:
		l.hundredths(`,"name":"system.disk_percent","type":"gauge","value":`, of(6100, 6200))
	}
	l.text(`,"unit":"percent"`)
}

func (l *line) pool(s *service) {
	out := l.rand.IntN(poolSize * 3 / 4)
	if l.trouble(s, Pool, 100) {
		out = poolSize
	}
	l.int(`,"name":"db.pool","type":"gauge","value":`, out)
	l.int(`,"attributes":{"checkedout":`, out)
	l.int(`,"size":`, poolSize)
	l.text("}")
}

func (l *line) access() {
	l.int(`,"user":"doc_`, 100+l.rand.IntN(40))
	l.text(`","action":"`, pick(l.Generator, actions))
	l.int(`","resource":"patient_`, 10000+l.rand.IntN(90000))
	l.text(`","success":`)
	l.b = strconv.AppendBool(l.b, l.rand.IntN(50) > 0)
}

func (l *line) query(s *service, ms int) {
	l.trace()
	level := "DEBUG"
	message := "Database query"
	if ms > 1000 {
		level, message = "WARNING", "Slow database query"
	}
	l.text(`,"level":"`, level, `","logger":"app.db","message":"`, message)
	l.hundredths(`","attributes":{"duration_ms":`, ms*100+l.rand.IntN(100))
	l.text(`,"query":"`, pick(l.Generator, s.queries), `"}`)
}

func (l *line) backup(failed bool) {
	level, outcome, code := "INFO", "finished", 0
	if failed {
		level, outcome, code = "ERROR", "failed", 1
	}
	l.text(`,"level":"`, level, `","logger":"app.jobs","message":"Job `, outcome)
	l.int(`","attributes":{"duration_ms":`, 60000+l.rand.IntN(60000))
	l.int(`,"exit_code":`, code)
	l.text(`,"job":"nightly-backup"}`)
}
