package main

import (
	"go/ast"
	"go/types"
	"regexp"
)

// writes is what methods are called that change a store or a log.
var writes = regexp.MustCompile(
	`^(Emit|Put|Set|Add|Insert|Upsert|Delete|Remove|Expire|Erase|Mark|Write|Update|Publish)`)

// effectful returns the functions of a package that change a store or a log: methods of interfaces
// whose name says so, and what calls them.
func effectful(p *pkg) map[types.Object]bool {
	effects := make(map[types.Object]bool)
	for grew := true; grew; {
		grew = false
		for _, f := range p.files {
			for _, decl := range f.syntax.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok || fn.Body == nil || effects[p.info.Defs[fn.Name]] {
					continue
				}
				if calls(p, fn.Body, effects) {
					effects[p.info.Defs[fn.Name]] = true
					grew = true
				}
			}
		}
	}
	return effects
}

// calls tells whether a node calls what changes a store or a log.
func calls(p *pkg, root ast.Node, effects map[types.Object]bool) bool {
	found := false
	ast.Inspect(root, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && !found {
			found = changes(p, call, effects)
		}
		return !found
	})
	return found
}

func changes(p *pkg, call *ast.CallExpr, effects map[types.Object]bool) bool {
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		return effects[p.info.Uses[fun]]
	case *ast.SelectorExpr:
		if effects[p.info.Uses[fun.Sel]] {
			return true
		}
		s := p.info.Selections[fun]
		return s != nil && types.IsInterface(s.Recv()) && writes.MatchString(fun.Sel.Name)
	}
	return false
}

// hasEffect tells whether a statement that can be moved changes a store or a log.
func (m *mutator) hasEffect(s ast.Stmt) bool {
	switch s := s.(type) {
	case *ast.IfStmt:
		return s.Init != nil && calls(m.pkg, s.Init, m.effects)
	case *ast.ExprStmt, *ast.RangeStmt, *ast.ForStmt:
		return calls(m.pkg, s, m.effects)
	}
	return false
}

// callee returns the name of what is called, without what stands before a dot.
func callee(call *ast.CallExpr) string {
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		return fun.Name
	case *ast.SelectorExpr:
		return fun.Sel.Name
	}
	return ""
}
