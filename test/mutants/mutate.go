package main

import (
	"go/ast"
	"go/token"
	"go/types"
	"regexp"
	"strings"
)

// mutator makes the mutants of one function.
type mutator struct {
	pkg     *pkg
	file    *file
	fn      string
	decl    *ast.FuncDecl
	effects map[types.Object]bool
	out     []*mutant
}

// mutations returns every mutant of a file, also those that may not compile.
func mutations(p *pkg, f *file) []*mutant {
	effects := effectful(p)
	var out []*mutant
	for _, decl := range f.syntax.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		name := fn.Name.Name
		if r := receiver(fn); r != "" {
			name = r + "." + name
		}
		m := &mutator{pkg: p, file: f, fn: name, decl: fn, effects: effects}
		m.walk(fn.Body)
		out = append(out, m.out...)
	}
	return out
}

func (m *mutator) offset(pos token.Pos) int { return m.pkg.offset(pos) }

func (m *mutator) text(n ast.Node) string {
	return string(m.file.source[m.offset(n.Pos()):m.offset(n.End())])
}

func (m *mutator) add(k kind, edits ...edit) {
	m.out = append(m.out, &mutant{
		pkg: m.pkg, file: m.file, fn: m.fn, decl: m.decl, kind: k, edits: edits,
	})
}

// replace adds the mutant in which a node reads otherwise.
func (m *mutator) replace(k kind, n ast.Node, text string) {
	m.add(k, edit{m.offset(n.Pos()), m.offset(n.End()), text})
}

// walk visits what can be changed with effect. Texts of errors, what is returned beside an error,
// sizes reserved in advance, bounds and locks are left alone: no test should tell the former, and
// only the race detector tells the last.
func (m *mutator) walk(root ast.Node) {
	ast.Inspect(root, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if bounds.MatchString(m.text(n.Fun)) {
				for _, arg := range n.Args {
					if _, literal := arg.(*ast.BasicLit); !literal {
						m.walk(arg)
					}
				}
				return false
			}
			return !m.speaks(n)
		case *ast.ReturnStmt:
			if len(n.Results) > 0 {
				call, ok := n.Results[len(n.Results)-1].(*ast.CallExpr)
				return !ok || !m.speaks(call)
			}
		case *ast.BlockStmt:
			m.block(n.List)
		case *ast.CaseClause:
			m.block(n.Body)
		case *ast.CommClause:
			m.block(n.Body)
		case *ast.IfStmt:
			m.condition(n)
		case *ast.BinaryExpr:
			m.binary(n)
		case *ast.BasicLit:
			if n.Kind == token.INT && len(n.Value) < 3 { // longer ones are tuning
				m.replace(constantChanged, n, "("+m.text(n)+" + 1)")
			}
		case *ast.Ident:
			m.constant(n)
			m.position(n)
		case *ast.SelectorExpr:
			m.position(n)
			m.walk(n.X)
			return false // the name behind the dot is no expression of its own
		case *ast.KeyValueExpr:
			if _, field := n.Key.(*ast.Ident); field {
				m.walk(n.Value)
				return false
			}
		case *ast.AssignStmt:
			for _, x := range n.Rhs {
				m.walk(x)
			}
			return false // a target is no value
		case *ast.IncDecStmt, *ast.BranchStmt, *ast.RangeStmt:
			if r, ok := n.(*ast.RangeStmt); ok {
				m.walk(r.X)
				m.walk(r.Body)
			}
			return false
		}
		return true
	})
}

var spoken = regexp.MustCompile(`^(fmt\.(Errorf|Sprintf)|errors\.New|fault\.\w+f|panic|make|new|` +
	`.*\.(Lock|Unlock|RLock|RUnlock))$`)

// bounds are calls whose constants are limits.
var bounds = regexp.MustCompile(`^(max|min|strconv\.\w+|time\.Unix)$`)

// speaks tells whether a call only makes an error's text, reserves memory or locks.
func (m *mutator) speaks(call *ast.CallExpr) bool { return spoken.MatchString(m.text(call.Fun)) }

// condition negates an if and drops the halves of its condition. Errors are the business of block.
func (m *mutator) condition(n *ast.IfStmt) {
	if m.isErrorCheck(n.Cond) {
		return
	}
	m.replace(conditionNegated, n.Cond, "!("+m.text(n.Cond)+")")
}

func (m *mutator) isErrorCheck(cond ast.Expr) bool {
	b, ok := cond.(*ast.BinaryExpr)
	if !ok || b.Op != token.NEQ && b.Op != token.EQL {
		return false
	}
	t := m.pkg.info.TypeOf(b.X)
	return t != nil && types.Identical(t, types.Universe.Lookup("error").Type())
}

var swaps = map[token.Token]struct {
	to token.Token
	k  kind
}{
	token.LSS: {token.LEQ, boundaryMoved}, token.LEQ: {token.LSS, boundaryMoved},
	token.GTR: {token.GEQ, boundaryMoved}, token.GEQ: {token.GTR, boundaryMoved},
	token.EQL: {token.NEQ, operatorSwapped}, token.NEQ: {token.EQL, operatorSwapped},
	token.ADD: {token.SUB, operatorSwapped}, token.SUB: {token.ADD, operatorSwapped},
	token.MUL: {token.QUO, operatorSwapped}, token.QUO: {token.MUL, operatorSwapped},
	token.LAND: {token.LOR, operatorSwapped}, token.LOR: {token.LAND, operatorSwapped},
}

func (m *mutator) binary(n *ast.BinaryExpr) {
	if m.isErrorCheck(n) {
		return
	}
	if s, ok := swaps[n.Op]; ok {
		at := m.offset(n.OpPos)
		m.add(s.k, edit{at, at + len(n.Op.String()), s.to.String()})
	}
	if n.Op == token.LAND || n.Op == token.LOR {
		neutral := map[token.Token]string{token.LAND: "true", token.LOR: "false"}[n.Op]
		m.replace(operandDropped, n.X, neutral)
		m.replace(operandDropped, n.Y, neutral)
	}
}

// constant turns true into false and back.
func (m *mutator) constant(n *ast.Ident) {
	if other, ok := map[string]string{"true": "false", "false": "true"}[n.Name]; ok {
		m.replace(constantChanged, n, other)
	}
}

var positional = regexp.MustCompile(
	`(?i)(offset|position|sequence|first|last|next|absorbed|applied|version)$`)

// position moves an integer that says where something stands on a log, by its name.
func (m *mutator) position(n ast.Expr) {
	name, ok := n.(*ast.Ident)
	if s, selected := n.(*ast.SelectorExpr); selected {
		name, ok = s.Sel, true
	}
	if !ok || !positional.MatchString(name.Name) {
		return
	}
	if _, variable := m.pkg.info.Uses[name].(*types.Var); !variable {
		return
	}
	t, ok := m.pkg.info.TypeOf(n).Underlying().(*types.Basic)
	if !ok || t.Info()&types.IsInteger == 0 {
		return
	}
	m.replace(positionOff, n, "("+m.text(n)+" + 1)")
	m.replace(positionOff, n, "("+m.text(n)+" - 1)")
}

// block changes the statements of a block: drops and swaps.
func (m *mutator) block(list []ast.Stmt) {
	for i, s := range list {
		switch s := s.(type) {
		case *ast.IfStmt:
			m.guard(s)
		case *ast.ExprStmt:
			if call, ok := s.X.(*ast.CallExpr); ok && !m.speaks(call) {
				m.replace(statementDropped, s, "")
			}
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE {
				m.replace(statementDropped, s, "")
			}
			m.arithmetic(s)
		case *ast.IncDecStmt:
			m.replace(statementDropped, s, "")
			other := map[token.Token]string{token.INC: "--", token.DEC: "++"}[s.Tok]
			m.replace(operatorSwapped, s, m.text(s.X)+other)
		case *ast.BranchStmt:
			if s.Label == nil && (s.Tok == token.CONTINUE || s.Tok == token.BREAK) {
				m.replace(jumpDropped, s, "")
			}
		}
		m.swap(s, list[i+1:])
	}
}

func (m *mutator) arithmetic(s *ast.AssignStmt) {
	other, ok := map[token.Token]string{token.ADD_ASSIGN: "-=", token.SUB_ASSIGN: "+="}[s.Tok]
	if ok {
		at := m.offset(s.TokPos)
		m.add(operatorSwapped, edit{at, at + len(s.Tok.String()), other})
	}
}

// guard changes an if whose body ends with a return: a lease check and an early return go, an error
// is ignored.
func (m *mutator) guard(s *ast.IfStmt) {
	if len(s.Body.List) == 0 || s.Else != nil {
		return
	}
	ret, ok := s.Body.List[len(s.Body.List)-1].(*ast.ReturnStmt)
	switch {
	case !ok:
	case m.asksLease(s):
		m.replace(leaseDropped, s, "")
	case m.isErrorCheck(s.Cond):
		m.replace(errorIgnored, s.Body, "{\n}")
	default:
		m.replace(returnDropped, ret, "")
	}
}

// asksLease tells whether a condition is that a partition is still ours.
func (m *mutator) asksLease(s *ast.IfStmt) bool {
	asks := false
	for _, part := range []ast.Node{s.Init, s.Cond} {
		if part == nil {
			continue
		}
		ast.Inspect(part, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				asks = asks || strings.Contains(strings.ToLower(callee(call)), "lease")
			}
			return !asks
		})
	}
	return asks
}

// swap moves an effect behind each later one of its block.
func (m *mutator) swap(s ast.Stmt, later []ast.Stmt) {
	if !m.hasEffect(s) {
		return
	}
	for _, other := range later {
		if m.hasEffect(other) {
			end := m.offset(other.End())
			m.add(effectsSwapped, edit{m.offset(s.Pos()), m.offset(s.End()), ""},
				edit{end, end, "\n" + m.text(s)})
		}
	}
}
