package gqlhttp

import (
	"context"
	"fmt"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/lexer"
	"github.com/vektah/gqlparser/v2/parser"
)

// maxOverlap bounds the pairs of fields that the validation compares for
// conflicts: it compares those of a selection with each other, again in each
// inline fragment around them, and again from each operation and each fragment
// that leads there. An honest document comes to some hundreds.
const maxOverlap = 50_000

// sizeCheck refuses a document that asks for more than it may, before it is
// validated: the validation of a hostile one is work, too. What was accepted once
// is in the cache of parsed documents and is not looked at again, but for what
// depends on the variables.
type sizeCheck struct {
	config   Config
	scale    scale
	accepted graphql.Cache[*ast.QueryDocument]
	costs    *lru.Cache[*ast.OperationDefinition, *cost]
}

func newSizeCheck(config Config, accepted graphql.Cache[*ast.QueryDocument]) sizeCheck {
	costs, err := lru.New[*ast.OperationDefinition, *cost](documentCacheSize)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return sizeCheck{config: config, scale: scale{config.Schema, config.Units}, accepted: accepted, costs: costs}
}

// ExtensionName implements [graphql.HandlerExtension].
func (sizeCheck) ExtensionName() string { return "RequestLimits" }

// Validate implements [graphql.HandlerExtension].
func (sizeCheck) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationParameters implements [graphql.OperationParameterMutator]. A
// document that cannot be parsed is left to the executor to refuse.
func (c sizeCheck) MutateOperationParameters(ctx context.Context, params *graphql.RawParams) *gqlerror.Error {
	if _, accepted := c.accepted.Get(ctx, params.Query); accepted {
		return nil
	}
	source, most := &ast.Source{Input: params.Query}, c.config.RequestLimits.Tokens
	if n := countTokens(source, most); n > most {
		return tooComplex(c.config.Codes, "tokens", most, n)
	}
	document, err := parser.ParseQuery(source)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	overlap := 0
	for _, root := range newSizer(document).roots() {
		if err := c.check(root); err != nil {
			return err
		}
		overlap = min(overlap+root.overlap, saturated)
	}
	if overlap > maxOverlap {
		return tooComplex(c.config.Codes, "overlap", maxOverlap, overlap)
	}
	return nil
}

// MutateOperationContext implements [graphql.OperationContextMutator]. How long the
// lists are is known with the variables, which must be right for that.
func (c sizeCheck) MutateOperationContext(ctx context.Context, operation *graphql.OperationContext) *gqlerror.Error {
	if err := checkVariables(c.config.Schema.Schema(), operation, c.config.CheckScalar); err != nil {
		return err
	}
	formula, known := c.costs.Get(operation.Operation)
	if !known {
		formula = newCost(ctx, c.scale, operation.Operation)
		c.costs.Add(operation.Operation, formula)
	}
	total, limits := formula.with(ctx, c.scale, operation.Variables), c.config.RequestLimits
	if operation.Operation.Operation == ast.Subscription {
		limits.Units = 0
	}
	if total.units > limits.Units {
		return tooComplex(c.config.Codes, "units", limits.Units, total.units)
	}
	if total.fields > limits.Fields {
		return tooComplex(c.config.Codes, "fields", limits.Fields, total.fields)
	}
	if units := total.units - total.changes; units > 0 {
		operation.Stats.SetExtension(admittedUnits, units)
	}
	return nil
}

// admittedUnits is the extension of an operation's statistics in which the units for
// Config.Admit travel.
const admittedUnits = "units"

func (c sizeCheck) check(s size) *gqlerror.Error {
	limits := c.config.RequestLimits
	for _, bound := range []struct {
		name          string
		limit, actual int
	}{
		{"depth", limits.Depth, s.depth},
		{"aliases", limits.Aliases, s.aliases},
		{"rootFields", limits.RootFields, s.rootFields},
		{"directives", limits.Directives, s.directives},
		{"fields", limits.Fields, s.fields},
	} {
		if bound.actual > bound.limit {
			return tooComplex(c.config.Codes, bound.name, bound.limit, bound.actual)
		}
	}
	return nil
}

func tooComplex(codes Codes, name string, limit, actual int) *gqlerror.Error {
	return &gqlerror.Error{
		Message: fmt.Sprintf("The document is too complex: %s %d, of %d allowed.", name, actual, limit),
		Extensions: map[string]any{
			"code": codes.TooComplex, "limitName": name, "limit": limit, "actual": actual,
		},
	}
}

// countTokens counts the tokens of a document, up to one more than the limit.
func countTokens(source *ast.Source, limit int) int {
	if len(source.Input) <= limit {
		return 0 // a token has a byte at least
	}
	tokens := lexer.New(source)
	for n := 0; n <= limit; n++ {
		if token, err := tokens.ReadToken(); err != nil || token.Kind == lexer.EOF {
			return n
		}
	}
	return limit + 1
}

// size is what an operation comes to with its fragments put in wherever they are
// used. Its numbers stop at saturated.
type size struct {
	depth, aliases, rootFields, directives, fields int

	overlap int // pairs of fields in one selection, see maxOverlap
}

// saturated is beyond every limit: fragments in fragments double a size with each
// step, and an int would not hold it.
const saturated = 1 << 30

func (s *size) add(other size) {
	s.depth = max(s.depth, other.depth)
	s.aliases = min(s.aliases+other.aliases, saturated)
	s.rootFields = min(s.rootFields+other.rootFields, saturated)
	s.directives = min(s.directives+other.directives, saturated)
	s.fields = min(s.fields+other.fields, saturated)
	s.overlap = min(s.overlap+other.overlap, saturated)
}

// sizer looks at each fragment once, however often it is used.
type sizer struct {
	fragments ast.FragmentDefinitionList
	known     map[string]*size // nil: being looked at, so the fragment is in itself
	visits    int

	operations ast.OperationList
}

func newSizer(document *ast.QueryDocument) *sizer {
	return &sizer{fragments: document.Fragments, operations: document.Operations, known: map[string]*size{}}
}

// roots are the sizes of all that the validation sets out from: the operations, and
// every fragment, whether an operation leads to it or not.
func (s *sizer) roots() []size {
	var roots []size
	for _, operation := range s.operations {
		roots = append(roots, s.ofOperation(operation))
	}
	for _, fragment := range s.fragments {
		root := s.ofFragment(fragment.Name)
		root.rootFields = 0 // it is of another type
		if strings.HasPrefix(fragment.TypeCondition, "__") {
			root.depth = 0 // it stands below __schema or __type
		}
		roots = append(roots, root)
	}
	return roots
}

func (s *sizer) ofOperation(operation *ast.OperationDefinition) size {
	total := s.of(operation.SelectionSet)
	total.directives += len(operation.Directives)
	for _, variable := range operation.VariableDefinitions {
		total.directives += len(variable.Directives)
	}
	return total
}

func (s *sizer) of(selections ast.SelectionSet) (total size) {
	for _, selection := range selections {
		s.visits++
		switch selection := selection.(type) {
		case *ast.Field:
			total.add(s.ofField(selection))
		case *ast.InlineFragment:
			total.add(size{directives: len(selection.Directives)})
			total.add(s.of(selection.SelectionSet))
		case *ast.FragmentSpread:
			total.add(size{directives: len(selection.Directives)})
			total.add(s.ofFragment(selection.Name))
		}
	}
	total.add(size{overlap: min(total.rootFields, 1<<15) * min(total.rootFields, 1<<15)})
	return total
}

func (s *sizer) ofField(field *ast.Field) size {
	inner := s.of(field.SelectionSet)
	if field.Name == "__schema" || field.Name == "__type" {
		inner.depth = 0
	}
	own := size{
		depth:      inner.depth + 1,
		aliases:    inner.aliases,
		rootFields: 1, // of whatever it stands in
		directives: inner.directives + len(field.Directives),
		fields:     inner.fields + 1,
		overlap:    inner.overlap,
	}
	if field.Alias != field.Name {
		own.aliases++
	}
	return own
}

// ofFragment answers nothing for a fragment that is missing, or in itself: the
// validation refuses both.
func (s *sizer) ofFragment(name string) size {
	if known, ok := s.known[name]; ok {
		if known == nil {
			return size{}
		}
		return *known
	}
	definition := s.fragments.ForName(name)
	if definition == nil {
		return size{}
	}
	s.known[name] = nil
	total := s.of(definition.SelectionSet)
	total.directives += len(definition.Directives)
	s.known[name] = &total
	return total
}
