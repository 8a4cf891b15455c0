package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"
	_ "time/tzdata" // zones of mute times, also where the machine has none

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"

	"github.com/dermai/millrace/internal/app/config"
	"github.com/dermai/millrace/internal/app/ops"
)

// flags are those of every program. Each setting of the configuration has a
// flag too: its own here, or --set.
type flags struct {
	Config   string            `short:"c" placeholder:"FILE" help:"Read this configuration file (default: millrace.yaml, if it is there)."`
	Data     *string           `env:"-" placeholder:"DIR" help:"Keep everything in this directory (data)."`
	NATSURL  *string           `name:"nats-url" env:"-" placeholder:"URL" help:"Use this broker (nats.url)."`
	HTTPAddr *string           `name:"http-addr" env:"-" placeholder:"HOST:PORT" help:"Serve events, health and metrics there (http.addr)."`
	LogLevel *string           `env:"-" placeholder:"LEVEL" help:"Log from this level on: debug, info, warning, error, critical (log.level)."`
	Set      map[string]string `env:"-" mapsep:"none" placeholder:"SETTING=VALUE" help:"Set any setting of the configuration file, as often as needed."`
	Output   string            `short:"o" enum:"text,json,csv,parquet" default:"text" help:"Print text, or json: one object a line. Some commands know csv and parquet."`

	Version kong.VersionFlag `env:"-" help:"Print the version and exit."`
}

// settings are the flags that stand for settings, by path.
func (f flags) settings() map[string]string {
	out := maps.Clone(f.Set)
	if out == nil {
		out = map[string]string{}
	}
	for path, value := range map[string]*string{
		"data": f.Data, "nats.url": f.NATSURL, "http.addr": f.HTTPAddr, "log.level": f.LogLevel,
	} {
		if value != nil {
			out[path] = *value
		}
	}
	return out
}

// session is what a command gets: the process, the configuration and a logger.
type session struct {
	Process
	config *config.Loaded
	log    zerolog.Logger
	out    *printer
	output string // text, json, or one of the command's own outputs
	demo   bool   // the built-in rules are those of the demo
	later  bool   // the broker need not be there yet
}

// run parses the arguments into grammar, a struct with commands that have a
// method Run(context.Context, *session) error, runs the command and returns the
// exit code. The first SIGINT or SIGTERM ends the command's context, so that it
// finishes what is in hand; the second ends the process.
func run(p Process, name, about string, grammar any) int {
	fault := func(err error) int {
		fmt.Fprintf(p.Stderr, "%s: %v\n", name, err)
		return exitFault
	}
	var common flags
	exited := false
	build := ops.ReadBuild()
	parser, err := kong.New(grammar,
		kong.Name(name),
		kong.Description(about),
		kong.Embed(&common),
		kong.DefaultEnvars("MILLRACE"),
		kong.Vars{"version": strings.TrimSpace(name + " " + build.Version + " " + build.Revision)},
		kong.Writers(p.Stdout, p.Stderr),
		kong.Exit(func(int) { exited = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}),
	)
	if err != nil {
		return fault(err)
	}
	parsed, err := parser.Parse(p.Args)
	if exited { // --help or --version
		return exitFine
	}
	if err != nil {
		return fault(fmt.Errorf("%w; see %s --help", err, name))
	}
	if err := knows(parsed.Selected(), common.Output); err != nil {
		return fault(err)
	}
	cfg, err := config.Load(config.Sources{
		File:    common.Config,
		Environ: os.Environ(),
		Flags:   common.settings(),
		Known:   variables(parser.Model.Node),
	})
	if err != nil {
		return fault(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	color := os.Getenv("NO_COLOR") == ""
	s := &session{Process: p, config: cfg, log: cfg.Log.Logger(p.Stderr, color), out: newPrinter(p.Stdout, common.Output), output: common.Output}
	for _, w := range cfg.Warnings {
		s.log.Warn().Msg(w)
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run(s)
	return exitCode(p.Stderr, name, errors.Join(err, s.out.flush()))
}

// knows refuses a form of output that a command does not have.
func knows(command *kong.Node, output string) error {
	if command == nil || output == "text" || output == "json" {
		return nil
	}
	c, ok := reflect.TypeAssert[interface{ outputs() []string }](command.Target.Addr())
	if ok && slices.Contains(c.outputs(), output) {
		return nil
	}
	return fmt.Errorf("-o %s is not for %s: use text or json", output, command.FullPath())
}

// exitCode says what became of a command.
func exitCode(stderr io.Writer, name string, err error) int {
	if err == nil {
		return exitFine
	}
	fmt.Fprintf(stderr, "%s: %v\n", name, err)
	if _, ok := errors.AsType[findingsError](err); ok {
		return exitFindings
	}
	return exitFault
}

// variables tells the names of the variables that stand for flags.
func variables(root *kong.Node) func(string) bool {
	var names []string
	var visit func(n *kong.Node)
	visit = func(n *kong.Node) {
		for _, f := range n.Flags {
			names = append(names, f.Envs...)
		}
		for _, child := range n.Children {
			visit(child)
		}
	}
	visit(root)
	return func(name string) bool { return slices.Contains(names, name) }
}
