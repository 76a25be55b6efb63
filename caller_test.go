package redissse

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestCallersAreToldApartByTheirAddress(t *testing.T) {
	caller := func(ip any) any {
		vars := map[string]any{caddyhttp.ClientIPVarKey: ip}
		return callerOf(httptest.NewRequest("GET", "/", nil).WithContext(context.WithValue(t.Context(), caddyhttp.VarsCtxKey, vars)))
	}
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
	} {
		if got := caller(test.a) == caller(test.b); got != test.same {
			t.Errorf("%s and %s are one caller: %v", test.a, test.b, got)
		}
	}
	for _, nobody := range []any{nil, "", "@", 7} {
		if got := caller(nobody); got != callerOf(httptest.NewRequest("GET", "/", nil)) {
			t.Errorf("the caller at %v is %v", nobody, got)
		}
	}
}
