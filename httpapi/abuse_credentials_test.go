package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"spoollock/auth/authtest"
	"spoollock/gqlhttp/gqlhttptest"
	"spoollock/lock"
)

const unauthenticated = "UNAUTHENTICATED"

// tokens are crafted, by name, and of the wrong kinds: none is to be accepted.
func (b *abuse) tokens() map[string]string {
	claims := func(name string, value any) map[string]any {
		all := authtest.Claims(attacker)
		if all[name] = value; value == nil {
			delete(all, name)
		}
		return all
	}
	header := func(name string, value any) string {
		return b.provider.Sign(map[string]any{name: value}, authtest.Claims(attacker))
	}
	encoded := base64.RawURLEncoding.EncodeToString
	parts := strings.Split(b.credential, ".")
	return map[string]string{
		"a word":                     marker,
		"one dot":                    marker + "." + marker,
		"two dots":                   marker + "." + marker + "." + marker,
		"dots":                       strings.Repeat(".", 4000),
		"no signature":               parts[0] + "." + parts[1] + ".",
		"no header":                  "." + parts[1] + "." + parts[2],
		"a part too many":            b.credential + "." + parts[2],
		"a letter too many":          b.credential + "A",
		"padded":                     b.credential + "==",
		"twice":                      b.credential + " " + b.credential,
		"after a comma":              marker + "," + b.credential,
		"before a comma":             b.credential + ", Bearer " + b.credential,
		"not in ASCII":               "ｅ" + b.credential[1:],
		"another's key":              authtest.New(b.t).Token(attacker),
		"claims that are a list":     b.provider.Sign(nil, []string{marker}),
		"claims that are a text":     b.provider.Sign(nil, marker),
		"claims that are null":       b.provider.Sign(nil, nil),
		"no claims":                  b.provider.Sign(nil, map[string]any{}),
		"nested claims":              parts[0] + "." + encoded([]byte(strings.Repeat("[", 3000))) + "." + parts[2],
		"a header that is no JSON":   encoded([]byte(marker)) + "." + parts[1] + "." + parts[2],
		"a header in broken UTF-8":   encoded([]byte("{\"alg\":\"\xff\"}")) + "." + parts[1] + "." + parts[2],
		"alg none":                   header("alg", "none"),
		"an unknown alg":             header("alg", marker),
		"an alg that is a number":    header("alg", 7),
		"an alg that is a list":      header("alg", []string{marker}),
		"no kid":                     header("kid", nil),
		"an unknown kid":             header("kid", marker),
		"a kid that is a path":       header("kid", "../../"+marker),
		"a kid that is a list":       header("kid", []string{marker}),
		"a kid of control chars":     header("kid", marker+"\x00\n\x1b[2J"),
		"crit":                       header("crit", []string{marker}),
		"another issuer":             b.provider.Sign(nil, claims("iss", marker)),
		"an issuer that is a list":   b.provider.Sign(nil, claims("iss", []string{marker})),
		"another audience":           b.provider.Sign(nil, claims("aud", marker)),
		"an audience that is a map":  b.provider.Sign(nil, claims("aud", map[string]any{"a": marker})),
		"no end":                     b.provider.Sign(nil, claims("exp", nil)),
		"an end that is a text":      b.provider.Sign(nil, claims("exp", marker)),
		"an end beyond all numbers":  b.provider.Sign(nil, claims("exp", 1e300)),
		"over":                       b.provider.Sign(nil, claims("exp", time.Now().Add(-time.Minute).Unix())),
		"not yet":                    b.provider.Sign(nil, claims("nbf", time.Now().Add(time.Hour).Unix())),
		"no worker":                  b.provider.Sign(nil, claims("sub", nil)),
		"a worker that is a number":  b.provider.Sign(nil, claims("sub", 93)),
		"a worker that is none":      b.provider.Sign(nil, claims("sub", marker+":93")),
		"a worker of control chars":  b.provider.Sign(nil, claims("sub", marker+"\x00\r\nDEL")),
		"a huge worker":              b.provider.Sign(nil, claims("sub", strings.Repeat("9", 4000))),
		"a name that is a list":      b.provider.Sign(nil, claims("name", []string{marker})),
		"a name of control chars":    b.provider.Sign(nil, claims("name", marker+"\x1b[2J")),
		"roles that are a text":      b.provider.Sign(nil, claims("roles", marker)),
		"roles that are a map":       b.provider.Sign(nil, claims("roles", map[string]any{"ADMIN": marker})),
		"longer than a token can be": b.provider.Sign(nil, claims("more", strings.Repeat("x", 7000))),
	}
}

// credentialAttacks are on how the service knows its callers. All are of the same take,
// which would be done, were the credential one.
func (b *abuse) credentialAttacks() []attack {
	bearer := "Authorization: Bearer " + b.credential
	refused := map[string][]string{
		"nothing":                {},
		"an empty header":        {"Authorization:"},
		"an empty bearer":        {"Authorization: Bearer "},
		"no scheme":              {"Authorization: " + b.credential},
		"another scheme":         {"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("93:"+b.credential))},
		"a scheme like it":       {"Authorization: Bearerx " + b.credential},
		"a scheme in full width": {"Authorization: Ｂearer " + b.credential},
		"no space":               {"Authorization: Bearer" + b.credential},
		"a no-break space":       {"Authorization: Bearer\u00a0" + b.credential},
		"a colon":                {"Authorization: Bearer: " + b.credential},
		"quoted":                 {`Authorization: Bearer "` + b.credential + `"`},
		"as a parameter":         {`Authorization: Bearer token="` + b.credential + `"`},
		"two bearers":            {bearer, bearer},
		"another one first":      {"Authorization: Bearer " + marker, bearer},
		"another one behind":     {bearer, "Authorization: Bearer " + marker},
		"an empty one behind":    {bearer, "authorization:"},
		"both headers":           {bearer, "X-API-Key: " + b.credential},
		"an empty key beside":    {bearer, "X-API-Key:"},
		"two keys":               {"X-API-Key: " + b.credential, "x-api-key: " + marker},
		"a key with its scheme":  {"X-API-Key: Bearer " + b.credential},
		"broken UTF-8":           {"Authorization: Bearer \xff\xfe" + marker},
		"other headers":          {"Proxy-Authorization: Bearer " + b.credential, "X-Authorization: Bearer " + b.credential, "X_API_Key: " + b.credential, "X-Forwarded-User: 93"},
		"cookies":                {"Cookie: authorization=Bearer " + b.credential + "; Authorization=" + b.credential},
		"hundreds of them":       slices.Repeat([]string{"Authorization: Bearer " + marker}, 300),
		"as long as it can be":   {"Authorization: Bearer " + strings.Repeat(marker, 1100)},
	}
	for name, token := range b.tokens() {
		refused[name] = []string{"Authorization: Bearer " + token}
		refused[name+", as a key"] = []string{"X-API-Key: " + token}
	}
	var attacks []attack
	for name, headers := range refused {
		attacks = append(attacks, attack{name: name, request: posted(hostileTake, headers...), status: http.StatusUnauthorized, code: unauthenticated})
	}
	refuse := func(name, request string) attack {
		return attack{name: name, request: request, status: http.StatusUnauthorized, code: unauthenticated}
	}
	query := url.Values{"authorization": {"Bearer " + b.credential}, "access_token": {b.credential}, "x-api-key": {b.credential}}.Encode()
	body := strings.TrimSuffix(hostileTake, "}") + fmt.Sprintf(`,"authorization":"Bearer %s","extensions":{"authorization":"Bearer %[1]s"}}`, b.credential)
	attacks = append(attacks,
		refuse("in the query string", strings.Replace(posted(hostileTake), "/graphql", "/graphql?"+query, 1)),
		refuse("in the query string of a GET", got(query+"&query={__typename}")),
		refuse("in the body", posted(body)),
		refuse("in a trailer", chunked(fmt.Sprintf("%x\r\n%s\r\n0\r\n%s\r\n\r\n", len(hostileTake), hostileTake, bearer), "Trailer: Authorization")),
		refuse("for a stream", posted(hostileTake, "Accept: text/event-stream")),
		attack{name: "of a megabyte", request: posted(hostileTake, "Authorization: Bearer "+strings.Repeat(marker, 1<<20/len(marker))), status: 431},
		attack{name: "a key of a megabyte", request: posted(hostileTake, "X-API-Key: "+strings.Repeat(marker, 1<<20/len(marker))), status: 431},
		attack{name: "NUL", request: posted(hostileTake, bearer+"\x00"), status: 400},
		attack{name: "a control character", request: posted(hostileTake, "Authorization: Bearer \x1b[2J"+marker), status: 400},
		attack{name: "a bare carriage return", request: posted(hostileTake, "X-Secret: a\r"+bearer), status: 400},
		attack{name: "a space before the colon", request: posted(hostileTake, strings.Replace(bearer, ":", " :", 1)), status: 400},
	)
	for i := range attacks {
		attacks[i].front, attacks[i].stranger = "fresh", true
	}
	return append(attacks, b.weakCredentials()...)
}

// weakCredentials are good, and are not enough.
func (b *abuse) weakCredentials() []attack {
	token := func(id string, role lock.Role) string {
		return b.provider.Token(lock.Caller{Worker: lock.Worker{ID: lock.WorkerID(id), Name: "N " + id}, Role: role})
	}
	var attacks []attack
	for name, test := range map[string]struct {
		token  string
		status int
	}{
		"of no role":         {token("66", ""), http.StatusForbidden},
		"of a role not ours": {token("66", "ROOT"), http.StatusForbidden},
		"of a viewer":        {token("66", lock.RoleViewer), http.StatusOK},
		"of another worker":  {token("67", lock.RoleWorker), http.StatusOK},
		"of another partner": {token("6", lock.RolePartner), http.StatusOK},
	} {
		attacks = append(attacks, attack{
			name: name, stranger: true, request: posted(hostileTake, "Authorization: Bearer "+test.token), secret: test.token,
			status: test.status, code: forbidden,
		})
	}
	viewer := posted(hostileTake, "Authorization: Bearer "+token("66", lock.RoleViewer), "Cookie: authorization=Bearer "+b.credential)
	return append(attacks, attack{
		name: "of a viewer, and more elsewhere", stranger: true, status: http.StatusOK, code: forbidden,
		request: strings.Replace(viewer, "/graphql", "/graphql?access_token="+b.credential, 1),
	})
}

// fromStrangers are all attacks without a credential, which are not even looked at if they
// come as far as to GraphQL; and so is what would be served.
func fromStrangers(t *testing.T) []attack {
	attacks := protocolAttacks()
	for i, a := range attacks {
		if a.code == badRequest || strings.HasPrefix(a.request, "HEAD") {
			attacks[i].status = http.StatusUnauthorized
		}
		if a.code == badRequest {
			attacks[i].code = unauthenticated
		}
	}
	served := slices.DeleteFunc(allValueAttacks(t, true), func(a attack) bool { return !strings.HasSuffix(a.name, " as it should be") })
	for _, a := range slices.Concat(jsonAttacks(), documentAttacks(), served) {
		attacks = append(attacks, attack{
			name: a.name, front: a.front, request: a.request, half: a.half, status: http.StatusUnauthorized, code: unauthenticated,
		})
	}
	for i := range attacks {
		attacks[i].name, attacks[i].stranger = "from a stranger, "+attacks[i].name, true
	}
	return attacks
}

func TestHostileCredentials(t *testing.T) {
	b := newAbuse(t, true)
	b.survive(t, func() { b.run(t, slices.Concat(b.credentialAttacks(), fromStrangers(t))) })
}

// The payloads of an init with which a socket is closed, or acknowledged, each with a take
// behind it.
func TestHostileInits(t *testing.T) {
	b := newAbuse(t, true)
	bearer := fmt.Sprintf(`"Bearer %s"`, b.credential)
	hundred := strings.Repeat(`"authorization #":"Bearer `+marker+`",`, 100)
	for i := range 100 {
		hundred = strings.Replace(hundred, "#", fmt.Sprint(i), 1)
	}
	const unauthorized, invalid = "4401 Unauthorized", "4400 Invalid message received"
	ends := map[string]map[string]string{
		unauthorized: {
			"null": `null`, "nothing in it": `{}`,
			"a number": `{"authorization":7}`, "a boolean": `{"authorization":true}`, "null for one": `{"authorization":null}`,
			"a list": `{"authorization":[` + bearer + `]}`, "an object": `{"authorization":{"bearer":` + bearer + `}}`,
			"lists in lists":                `{"authorization":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`,
			"nested":                        `{"headers":{"authorization":` + bearer + `}}`,
			"both":                          `{"authorization":` + bearer + `,"x-api-key":"` + b.credential + `"}`,
			"twice, in another case":        `{"authorization":` + bearer + `,"Authorization":` + bearer + `}`,
			"another one in another case":   `{"authorization":` + bearer + `,"AUTHORIZATION":"Bearer ` + marker + `"}`,
			"a hundred names":               `{` + hundred + `"a":1}`,
			"a space in its name":           `{"authorization ":` + bearer + `}`,
			"a colon in its name":           `{"authorization:":` + bearer + `}`,
			"a name in full width":          `{"ａuthorization":` + bearer + `}`,
			"another name":                  `{"token":` + bearer + `,"authToken":` + bearer + `,"x_api_key":` + bearer + `}`,
			"no scheme":                     `{"authorization":"` + b.credential + `"}`,
			"another scheme":                `{"authorization":"Basic ` + b.credential + `"}`,
			"NUL":                           `{"authorization":"Bearer ` + b.credential + `\u0000"}`,
			"control characters":            `{"authorization":"Bearer \r\n\u001b[2J` + marker + `"}`,
			"a header behind it":            `{"authorization":"Bearer ` + b.credential + `\r\nX-API-Key: ` + marker + `"}`,
			"as long as a message can be":   `{"authorization":"Bearer ` + strings.Repeat(marker, 4500) + `"}`,
			"a key as long as that":         `{"x-api-key":"` + strings.Repeat(marker, 4500) + `"}`,
			"a name as long as that":        `{"` + strings.Repeat(marker, 4500) + `":"x"}`,
			"a name of control characters":  `{"\u0000\r\n` + marker + `":"x"}`,
			"a name that is empty":          `{"":` + bearer + `}`,
			"a name of surrogates and more": `{"🔧":` + bearer + `}`,
		},
		invalid: {
			"a text": bearer, "a number": `7`, "a boolean": `true`, "a list": `[{"authorization":` + bearer + `}]`,
			"twice":                `{"authorization":` + bearer + `,"authorization":` + bearer + `}`,
			"twice, once escaped":  `{"authorization":` + bearer + `,"authorizatio\u006e":` + bearer + `}`,
			"broken UTF-8":         "{\"authorization\":\"Bearer " + marker + "\xff\"}",
			"half a surrogate":     `{"authorization":"Bearer ` + marker + `\ud83d"}`,
			"deeper than JSON is":  `{"authorization":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`,
			"a comma at the end":   `{"authorization":` + bearer + `,}`,
			"an end in the middle": `{"authorization":"Bearer ` + marker,
		},
		"1009 read limited at 65537 bytes": {"longer than that": `{"authorization":"Bearer ` + strings.Repeat(marker, 5500) + `"}`},
		// The close may not get through, while more is being sent.
		"":               {"a megabyte": `{"authorization":"Bearer ` + strings.Repeat(marker, 1<<20/len(marker)) + `"}`},
		"4403 Forbidden": {"of no role": `{"authorization":"Bearer ` + b.provider.Token(lock.Caller{Worker: attacker.Worker}) + `"}`},
	}
	for name, token := range b.tokens() {
		ends[unauthorized]["a token, "+name] = `{"authorization":"Bearer ` + token + `"}`
		ends[unauthorized]["a key, "+name] = `{"x-api-key":"` + token + `"}`
	}
	before := b.dump()
	b.survive(t, func() {
		for end, payloads := range ends {
			for _, name := range slices.Sorted(maps.Keys(payloads)) {
				t.Run(name, func(t *testing.T) {
					b.t = t
					b.initialises(t, end, payloads[name], before)
				})
			}
		}
		b.t = t
		b.badHandshakes(t, before)
		// What else stands in the payload is of no matter.
		s := b.socket(t, "/graphql")
		s.Send(`{"type":"connection_init","payload":{` + hundred + `"authorization":` + bearer + `,"x-api-key":[]}}`)
		s.Want(`{"type":"connection_ack"}`)
		s.Send(gqlhttptest.InitMessage)
		s.WantClose(4429, "Too many initialisation requests")
	})
}

// socket opens a WebSocket with the headers given as names and values.
func (b *abuse) socket(t *testing.T, path string, headers ...string) *gqlhttptest.Socket {
	t.Helper()
	options := &websocket.DialOptions{HTTPHeader: http.Header{}, Subprotocols: []string{"graphql-transport-ws"}}
	for i := 0; i < len(headers); i += 2 {
		options.HTTPHeader.Add(headers[i], headers[i+1])
	}
	conn, _, err := websocket.Dial(t.Context(), "http://"+b.fronts["fresh"]+path, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &gqlhttptest.Socket{T: t, Conn: conn}
}

// initialises opens a socket, which must end so, with nothing done and nothing said.
func (b *abuse) initialises(t *testing.T, end, payload string, before map[string]kept) {
	t.Helper()
	logged := len(b.log.String())
	s := b.socket(t, "/graphql")
	_ = s.Conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"connection_init","payload":`+payload+`}`)) // it may be cut off
	b.wantEnd(t, s, end, before, logged)
}

// badHandshakes have a credential where none counts.
func (b *abuse) badHandshakes(t *testing.T, before map[string]kept) {
	t.Helper()
	query := url.Values{"authorization": {"Bearer " + b.credential}, "access_token": {b.credential}}.Encode()
	for _, test := range []struct {
		path    string
		headers []string
	}{
		{"/graphql?" + query, nil},
		{"/graphql", []string{"Cookie", "authorization=" + b.credential}},
		{"/graphql", []string{"Sec-WebSocket-Protocol", "graphql-transport-ws, " + b.credential}},
		{"/graphql", []string{"Authorization", "Bearer " + b.credential, "X-API-Key", b.credential}},
		{"/graphql", []string{"Authorization", "Bearer \xff" + marker}},
	} {
		logged := len(b.log.String())
		s := b.socket(t, test.path, test.headers...)
		s.Send(gqlhttptest.InitMessage)
		b.wantEnd(t, s, "4401 Unauthorized", before, logged)
	}
}

// wantEnd sends a take on the socket, which must end so all the same; empty: in whatever
// way.
func (b *abuse) wantEnd(t *testing.T, s *gqlhttptest.Socket, end string, before map[string]kept, logged int) {
	t.Helper()
	// The socket may be closed before.
	_ = s.Conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"subscribe","id":"1","payload":`+hostileTake+`}`))
	message, err := s.Read()
	if err == nil {
		t.Fatalf("before the end comes %.300s", message)
	}
	code := fmt.Sprint(int(websocket.CloseStatus(err)), " ")
	if end != "" && (!strings.HasPrefix(end, code) || !strings.Contains(err.Error(), end[len(code):])) {
		t.Errorf("it ends with %v, want %s", err, end)
	}
	_ = s.Conn.CloseNow()
	a := attack{status: http.StatusOK}
	if end == "4401 Unauthorized" {
		a = attack{front: "fresh", status: http.StatusUnauthorized}
	}
	b.checkLog(t, a, b.log.String()[logged:])
	b.checkKept(t, a, before)
}
