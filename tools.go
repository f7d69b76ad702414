//go:build tools

// Package tools keeps the tools of go generate in go.mod.
package tools

import _ "github.com/99designs/gqlgen"
