package main

// Making the mutants: the syntax trees of the files to break are rewritten so that
// each place asks whether its mutant is on.

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/build"
	"go/format"
	"go/importer"
	"go/parser"
	"go/printer"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/ast/astutil"
)

type mutant struct {
	id       int
	pos      token.Position
	in       string // the function
	from, to string
	nth      int // of those with the same text in the same function
}

func (m mutant) String() string {
	return fmt.Sprintf("#%d %s:%d:%d %s: %s => %s", m.id, m.pos.Filename, m.pos.Line, m.pos.Column, m.in, m.from, m.to)
}

// key names the mutant for as long as its function keeps that text.
func (m mutant) key() string {
	k := fmt.Sprintf("%s %s: %s => %s", m.pos.Filename, m.in, m.from, m.to)
	if m.nth > 0 {
		k += fmt.Sprintf(" (%d)", m.nth+1)
	}
	return k
}

// others are what an operator may be mistaken for.
var others = map[token.Token][]token.Token{
	token.LSS: {token.LEQ, token.GEQ}, token.LEQ: {token.LSS, token.GTR},
	token.GTR: {token.GEQ, token.LEQ}, token.GEQ: {token.GTR, token.LSS},
	token.EQL: {token.NEQ}, token.NEQ: {token.EQL},
	token.LAND: {token.LOR}, token.LOR: {token.LAND},
	token.ADD: {token.SUB}, token.SUB: {token.ADD}, token.MUL: {token.QUO}, token.QUO: {token.MUL}, token.REM: {token.MUL},
	token.AND: {token.OR}, token.OR: {token.AND}, token.XOR: {token.AND}, token.AND_NOT: {token.AND},
	token.SHL: {token.SHR}, token.SHR: {token.SHL},
}

// breakAll copies the package in root to dir and breaks the files there.
func breakAll(root, dir string, files []string) ([]mutant, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			b, err := os.ReadFile(filepath.Join(root, e.Name()))
			if err != nil {
				return nil, err
			}
			if err := os.WriteFile(filepath.Join(dir, e.Name()), b, 0o600); err != nil {
				return nil, err
			}
		}
	}
	for _, sub := range []string{"testdata", "internal"} {
		if st, err := os.Stat(filepath.Join(root, sub)); err == nil && st.IsDir() {
			if err := os.CopyFS(filepath.Join(dir, sub), os.DirFS(filepath.Join(root, sub))); err != nil {
				return nil, err
			}
		}
	}
	b, err := typeCheck(root)
	if err != nil {
		return nil, err
	}
	for _, f := range b.parsed {
		name := filepath.Base(b.fset.Position(f.Pos()).Filename)
		if !slices.Contains(files, name) {
			continue
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil && fn.Name.Name != "init" {
				b.function(name, fn)
			}
		}
		var out bytes.Buffer
		f.Comments = nil
		if err := format.Node(&out, b.fset, f); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), out.Bytes(), 0o600); err != nil {
			return nil, err
		}
	}
	return b.mutants, os.WriteFile(filepath.Join(dir, "mutant.go"), []byte(fmt.Sprintf(`package %s

import (
	"os"
	"strconv"
)

// mutantOn is the number of the mutant that is on, 0 for none.
var mutantOn, _ = strconv.Atoi(os.Getenv(%q))
`, b.parsed[0].Name.Name, variable)), 0o600)
}

// snippet is what a node looked like before anything was broken.
type snippet struct {
	text     string
	pos      token.Position
	operands [2]string
}

type breaker struct {
	fset    *token.FileSet
	parsed  []*ast.File
	info    types.Info
	pkg     *types.Package
	mutants []mutant
	source  map[ast.Node]snippet // as it was
	seen    map[string]int
	file    string
	in      string
}

func typeCheck(root string) (*breaker, error) {
	b := &breaker{
		fset: token.NewFileSet(), seen: map[string]int{},
		info: types.Info{Types: map[ast.Expr]types.TypeAndValue{}},
	}
	names, err := filesOfPackage(root)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		f, err := parser.ParseFile(b.fset, filepath.Join(root, n), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		b.parsed = append(b.parsed, f)
	}
	conf := types.Config{Importer: importer.ForCompiler(b.fset, "source", nil)}
	b.pkg, err = conf.Check("shmchan", b.fset, b.parsed, &b.info)
	return b, err
}

// function breaks one function.
func (b *breaker) function(file string, fn *ast.FuncDecl) {
	b.file, b.in, b.source = file, fn.Name.Name, map[ast.Node]snippet{}
	ast.Inspect(fn, func(n ast.Node) bool {
		if n != nil {
			b.note(n)
		}
		return true
	})
	if fn.Recv != nil {
		b.in = strings.TrimLeft(b.text(fn.Recv.List[0].Type), "*") + "." + b.in
	}
	astutil.Apply(fn.Body, func(c *astutil.Cursor) bool {
		switch n := c.Node().(type) {
		case ast.Expr:
			return b.info.Types[n].Value == nil // Constants stay.
		case *ast.IfStmt:
			return !strings.Contains(b.text(n.Cond), "raceEnabled") // Not compiled here.
		}
		return true
	}, func(c *astutil.Cursor) bool {
		switch n := c.Node().(type) {
		case *ast.BinaryExpr:
			b.binary(c, n)
		case *ast.UnaryExpr:
			if n.Op == token.NOT || n.Op == token.SUB {
				b.choose(c, n, alternative{n.X, b.source[n].operands[0]})
			}
		case *ast.CallExpr, *ast.Ident, *ast.SelectorExpr:
			e := c.Node().(ast.Expr)
			if t := b.info.Types[e]; t.IsValue() && isBool(t.Type) && isCondition(c) {
				b.choose(c, e, alternative{&ast.UnaryExpr{Op: token.NOT, X: e}, "!" + b.text(e)})
			}
		case *ast.ExprStmt, *ast.AssignStmt, *ast.IncDecStmt:
			b.remove(c, n.(ast.Stmt))
		}
		return true
	})
}

// isCondition: the node is a whole condition, or a part of one that && or || join.
func isCondition(c *astutil.Cursor) bool {
	switch p := c.Parent().(type) {
	case *ast.IfStmt:
		return c.Name() == "Cond"
	case *ast.ForStmt:
		return c.Name() == "Cond"
	case *ast.CaseClause:
		return c.Name() == "List"
	case *ast.BinaryExpr:
		return p.Op == token.LAND || p.Op == token.LOR
	}
	return false
}

func isBool(t types.Type) bool {
	basic, ok := t.Underlying().(*types.Basic)
	return ok && basic.Info()&types.IsBoolean != 0
}

func (b *breaker) binary(c *astutil.Cursor, n *ast.BinaryExpr) {
	if t := b.info.Types[n]; t.Type == nil || types.Default(t.Type).String() == "string" {
		return
	}
	var alternatives []alternative
	operands := b.source[n].operands
	for _, op := range others[n.Op] {
		alternatives = append(alternatives, alternative{
			&ast.BinaryExpr{X: &ast.ParenExpr{X: n.X}, Op: op, Y: &ast.ParenExpr{X: n.Y}},
			fmt.Sprintf("%s %s %s", operands[0], op, operands[1]),
		})
	}
	b.choose(c, n, alternatives...)
}

type alternative struct {
	e    ast.Expr
	text string
}

// choose puts in the place of e a call of a function that returns e or, with the
// mutant on, another expression.
func (b *breaker) choose(c *astutil.Cursor, e ast.Expr, alternatives ...alternative) {
	t, ok := b.info.Types[e]
	if !ok || t.Value != nil || t.Type == nil {
		return
	}
	typ, err := parser.ParseExpr(types.TypeString(types.Default(t.Type), func(p *types.Package) string {
		if p == b.pkg {
			return ""
		}
		return p.Name()
	}))
	if err != nil {
		return
	}
	body := &ast.BlockStmt{}
	for _, a := range alternatives {
		body.List = append(body.List, &ast.IfStmt{
			Cond: b.on(e, token.EQL, a.text),
			Body: &ast.BlockStmt{List: []ast.Stmt{&ast.ReturnStmt{Results: []ast.Expr{a.e}}}},
		})
	}
	body.List = append(body.List, &ast.ReturnStmt{Results: []ast.Expr{e}})
	c.Replace(&ast.CallExpr{Fun: &ast.FuncLit{
		Type: &ast.FuncType{Params: &ast.FieldList{}, Results: &ast.FieldList{List: []*ast.Field{{Type: typ}}}},
		Body: body,
	}})
}

// remove makes a statement conditional. Not a declaration, nor a mutex: to go on without
// one is no mistake that somebody makes unnoticed.
func (b *breaker) remove(c *astutil.Cursor, s ast.Stmt) {
	switch c.Parent().(type) {
	case *ast.BlockStmt, *ast.CaseClause, *ast.CommClause:
	default:
		return
	}
	if c.Index() < 0 {
		return // The receive of a select.
	}
	if a, ok := s.(*ast.AssignStmt); ok && (a.Tok == token.DEFINE || b.text(a.Lhs[0]) == "_" && len(a.Lhs) == 1 && b.callless(a.Rhs[0])) {
		return
	}
	text := b.text(s)
	if strings.HasSuffix(text, "ock()") {
		return
	}
	c.Replace(&ast.IfStmt{Cond: b.on(s, token.NEQ, "removed"), Body: &ast.BlockStmt{List: []ast.Stmt{s}}})
}

func (b *breaker) callless(e ast.Expr) bool {
	_, ok := e.(*ast.CallExpr)
	return !ok
}

// on notes a mutant and returns the condition under which it is on, or not.
func (b *breaker) on(at ast.Node, op token.Token, to string) ast.Expr {
	m := mutant{id: len(b.mutants) + 1, pos: b.source[at].pos, in: b.in, from: b.text(at), to: to}
	k := m.key()
	m.nth = b.seen[k]
	b.seen[k]++
	b.mutants = append(b.mutants, m)
	return &ast.BinaryExpr{X: ast.NewIdent("mutantOn"), Op: op, Y: &ast.BasicLit{Kind: token.INT, Value: fmt.Sprint(m.id)}}
}

func (b *breaker) text(n ast.Node) string { return b.source[n].text }

func (b *breaker) note(n ast.Node) {
	s := snippet{text: b.print(n), pos: b.fset.Position(n.Pos())}
	switch n := n.(type) {
	case *ast.BinaryExpr:
		s.pos, s.operands = b.fset.Position(n.OpPos), [2]string{b.print(n.X), b.print(n.Y)}
	case *ast.UnaryExpr:
		s.operands[0] = b.print(n.X)
	}
	s.pos.Filename = b.file
	b.source[n] = s
}

func (b *breaker) print(n ast.Node) string {
	var out bytes.Buffer
	_ = printer.Fprint(&out, b.fset, n)
	return strings.Join(strings.Fields(out.String()), " ")
}

// filesOfPackage lists the files that are compiled here, without the tests.
func filesOfPackage(root string) ([]string, error) {
	p, err := build.ImportDir(root, 0)
	return p.GoFiles, err
}
