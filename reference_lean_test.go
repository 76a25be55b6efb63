package redissse

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// constantsOf returns the texts of the constants of a type of the root's.
func constantsOf(t *testing.T, typeName string) (texts []string) {
	t.Helper()
	inspectRoot(t, func(_ *token.FileSet, n ast.Node) {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return
		}
		if of, ok := spec.Type.(*ast.Ident); ok && of.Name == typeName {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
		}
	})
	return texts
}

// TestTheReferenceSaysWhyStreamsAreNotLean: each reason, with how such a stream is written.
func TestTheReferenceSaysWhyStreamsAreNotLean(t *testing.T) {
	var reasons []string
	for _, row := range referenceRows(t, "### `lean`", "`reason`") {
		why := code(row["`reason`"])[0]
		reasons = append(reasons, why)
		kind := leanNot
		switch whyNotLean(why) {
		case leanRecorded, leanTraced:
			kind = leanParked
		case leanProtocol, leanTLS:
			kind = leanShared
		}
		if is := code(row["`lean`"])[0]; is != string(kind) {
			t.Errorf("%s: the reference has %s", why, is)
		}
	}
	real := slices.DeleteFunc(constantsOf(t, "whyNotLean"), func(why string) bool { return why == string(leanWhole) })
	sameWords(t, "reason", reasons, real)
	for _, row := range referenceRows(t, "## Metrics", "label") {
		if row["label"] == "`lean`" {
			sameWords(t, "value", code(row["values"])[:4], constantsOf(t, "leanKind"))
		}
	}
}

// TestTheReferenceHasTheValuesOfLean: each is taken, and no other.
func TestTheReferenceHasTheValuesOfLean(t *testing.T) {
	var values []string
	for _, row := range referenceRows(t, "### `lean`", "`lean`") {
		value := code(row["`lean`"])[0]
		values = append(values, value)
		if is, err := checkLean(value); err != nil || is != value {
			t.Errorf("%q is %q, %v", value, is, err)
		}
	}
	sameWords(t, "value", values, []string{leanAuto, leanOn, leanOff})
}
