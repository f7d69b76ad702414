package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// hostileTake would take a free spool, were it let through.
const hostileTake = `{"query":"mutation{tomarSpool(input:{tagSpool:\"` + freeSpool + `\",workerId:\"66\",workerNombre:\"` +
	marker + `\",requestId:\"` + attackRequest + `\"}){lockToken}}"}`

// httpRequest is a request with the lines given as its head, after which the
// connection is to be closed.
func httpRequest(body string, lines ...string) string {
	return strings.Join(lines, "\r\n") + "\r\nConnection: close\r\n\r\n" + body
}

// posted is a POST of the body with the headers of a good client, and more.
func posted(body string, more ...string) string {
	return httpRequest(body, append([]string{
		"POST /graphql HTTP/1.1", "Host: localhost", "Content-Type: application/json", fmt.Sprint("Content-Length: ", len(body)),
	}, more...)...)
}

// chunked is a POST whose body is in chunks, as given.
func chunked(body string, more ...string) string {
	return httpRequest(body, append([]string{
		"POST /graphql HTTP/1.1", "Host: localhost", "Content-Type: application/json", "Transfer-Encoding: chunked",
	}, more...)...)
}

// typed is a good POST of another content type.
func typed(contentType string, more ...string) string {
	return httpRequest(hostileTake, append([]string{
		"POST /graphql HTTP/1.1", "Host: localhost", "Content-Type: " + contentType, fmt.Sprint("Content-Length: ", len(hostileTake)),
	}, more...)...)
}

// to is a good POST to another host.
func to(host string) string {
	return httpRequest(hostileTake, "POST /graphql HTTP/1.1", "Host: "+host, "Content-Type: application/json",
		fmt.Sprint("Content-Length: ", len(hostileTake)))
}

// by is a good request by another method.
func by(method string, more ...string) string {
	return strings.Replace(posted(hostileTake, more...), "POST", method, 1)
}

// got is a GET with the query given.
func got(query string, more ...string) string {
	return httpRequest("", append([]string{"GET /graphql?" + query + " HTTP/1.1", "Host: localhost"}, more...)...)
}

// takeInQuery is hostileTake in a query string.
func takeInQuery() string {
	var request struct{ Query string }
	if err := json.Unmarshal([]byte(hostileTake), &request); err != nil {
		panic(err)
	}
	return "query=" + url.QueryEscape(request.Query)
}

func gzipped(text string) string {
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, _ = writer.Write([]byte(text))
	_ = writer.Close()
	return packed.String()
}

// protocolAttacks are on HTTP. Those that net/http refuses itself have no code.
func protocolAttacks() []attack {
	const head, bad = "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n", "BAD_REQUEST"
	length := fmt.Sprint("Content-Length: ", len(hostileTake), "\r\n")
	size := fmt.Sprintf("%x\r\n", len(hostileTake))
	attacks := []attack{
		// Request lines.
		{name: "an empty line", request: "\r\n\r\n", status: 400},
		{name: "nothing", half: true, request: "", status: 0},
		{name: "binary", request: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + marker + "\r\n\r\n", status: 400},
		{name: "no version", request: httpRequest(hostileTake, "POST /graphql", "Host: localhost"), status: 400},
		{name: "a version of the future", request: httpRequest(hostileTake, "POST /graphql HTTP/9.9", "Host: localhost"), status: 505},
		{name: "a version that is none", request: httpRequest(hostileTake, "POST /graphql HTTP/"+marker, "Host: localhost"), status: 400},
		{name: "HTTP/2 without an agreement", request: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status: 403, code: "FORBIDDEN"},
		{name: "two spaces", request: httpRequest(hostileTake, "POST  /graphql HTTP/1.1", "Host: localhost"), status: 400},
		{name: "a space first", request: httpRequest(hostileTake, " POST /graphql HTTP/1.1", "Host: localhost"), status: 400},
		{name: "NUL in the method", request: httpRequest(hostileTake, "PO\x00ST /graphql HTTP/1.1", "Host: localhost"), status: 400},
		{name: "NUL in the path", request: httpRequest(hostileTake, "POST /graphql\x00 HTTP/1.1", "Host: localhost"), status: 400},
		{name: "broken escapes in the path", request: httpRequest(hostileTake, "POST /%zz"+marker+" HTTP/1.1", "Host: localhost"), status: 400},
		{name: "a huge path", request: httpRequest(hostileTake, "POST /graphql?"+strings.Repeat(marker, 10000)+" HTTP/1.1", "Host: localhost"), status: 431},
		{name: "another path", request: httpRequest(hostileTake, "POST /graphql/"+marker+" HTTP/1.1", "Host: localhost"), status: 404},
		{name: "a path upwards", request: httpRequest("", "GET /..%2f..%2fetc/passwd HTTP/1.1", "Host: localhost"), status: 404},
		{name: "a path that seems another host", request: httpRequest("", "GET //evil.example/../graphql HTTP/1.1", "Host: localhost"), status: 404},
		{name: "POST where there is nothing to post to", request: httpRequest(hostileTake, "POST /healthz HTTP/1.1", "Host: localhost", fmt.Sprint("Content-Length: ", len(hostileTake))), status: 405},
		{name: "another host's health", request: httpRequest("", "GET /healthz HTTP/1.1", "Host: evil.example"), status: 403, code: "FORBIDDEN"},
		{name: "the playground where it is off", request: httpRequest("", "GET /playground/..%2f..%2f"+marker+" HTTP/1.1", "Host: localhost"), status: 404},
		{name: "an address of another host", request: httpRequest(hostileTake, "POST http://evil.example/graphql HTTP/1.1", "Host: localhost"), status: 403, code: "FORBIDDEN"},

		// Headers.
		{name: "no host", request: httpRequest(hostileTake, "POST /graphql HTTP/1.1"), status: 400},
		{name: "no host in HTTP/1.0", request: httpRequest(hostileTake, "POST /graphql HTTP/1.0"), status: 403, code: "FORBIDDEN"},
		{name: "two hosts", request: posted(hostileTake, "Host: localhost"), status: 400},
		{name: "a header without a colon", request: posted(hostileTake, "X-"+marker), status: 400},
		{name: "a space before the colon", request: posted(hostileTake, "X-Secret : "+marker), status: 400},
		{name: "a header without a name", request: posted(hostileTake, ": "+marker), status: 400},
		{name: "NUL in a header", request: posted(hostileTake, "X-Secret: "+marker+"\x00"), status: 400},
		{name: "NUL in a header's name", request: posted(hostileTake, "X-\x00: "+marker), status: 400},
		{name: "a bare carriage return in a header", request: posted(hostileTake, "X-Secret: a\r"+marker), status: 400},
		{name: "a control character in a header", request: posted(hostileTake, "X-Secret: \x1b[2J"+marker), status: 400},
		{name: "a folded content type", request: typed("application/\r\n json"), status: 415, code: bad},
		{name: "a giant header", request: posted(hostileTake, "X-Secret: "+strings.Repeat(marker, 10000)), status: 431},
		{name: "thousands of headers", request: posted(hostileTake, strings.Split(strings.Repeat("X-Secret: "+marker+"\n", 5000)+"X: y", "\n")...), status: 431},
		{name: "an expectation that nobody knows", request: posted(hostileTake, "Expect: "+marker), status: 417},

		// Where a body ends.
		{name: "two lengths", request: posted(hostileTake, "Content-Length: 5"), status: 400},
		{name: "two lengths in one", request: head + "Content-Length: 5, 5\r\n\r\n" + hostileTake, status: 400},
		{name: "a negative length", request: head + "Content-Length: -1\r\n\r\n" + hostileTake, status: 400},
		{name: "a length with a sign", request: head + "Content-Length: +5\r\n\r\n" + hostileTake, status: 400},
		{name: "a hexadecimal length", request: head + "Content-Length: 0x10\r\n\r\n" + hostileTake, status: 400},
		{name: "a length beyond 64 bits", request: head + "Content-Length: 99999999999999999999\r\n\r\n" + hostileTake, status: 400},
		{name: "a length of 2^63-1", half: true, request: head + "Content-Length: 9223372036854775807\r\n\r\n" + hostileTake, status: 400, code: bad},
		{name: "a length and chunks", request: chunked("0\r\n\r\n"+hostileTake, length[:len(length)-2]), status: 400, code: bad},
		{name: "chunks, then another request", request: chunked("0\r\n\r\n" + posted(hostileTake)), status: 400, code: bad},
		{name: "a length that hides a request", request: head + "Content-Length: 2\r\n\r\n{}" + posted(hostileTake), status: 400, code: bad},
		{name: "an encoding on top of chunks", request: head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", status: 501},
		{name: "chunked twice", request: chunked(size+hostileTake+"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), status: 501},
		{name: "chunked by another name", request: head + "Transfer-Encoding: xchunked\r\n\r\n" + size + hostileTake + "\r\n0\r\n\r\n", status: 501},
		{name: "chunked behind a control character", request: head + "Transfer-Encoding: \x0bchunked\r\n\r\n" + hostileTake, status: 400},
		{name: "a chunk of no size", request: chunked(marker + "\r\n" + hostileTake), status: 400, code: bad},
		{name: "a chunk of negative size", request: chunked("-1\r\n" + hostileTake), status: 400, code: bad},
		{name: "a chunk beyond 64 bits", request: chunked("fffffffffffffffff\r\n" + hostileTake), status: 400, code: bad},
		{name: "a chunk longer than it says", request: chunked("5\r\n" + hostileTake + "\r\n0\r\n\r\n"), status: 400, code: bad},
		{name: "a chunk shorter than it says", half: true, request: chunked("fff\r\n" + hostileTake + "\r\n0\r\n\r\n"), status: 400, code: bad},
		{name: "chunks without an end", half: true, request: chunked(size + hostileTake + "\r\n"), status: 400, code: bad},
		{name: "a giant chunk extension", request: chunked(size[:len(size)-2] + ";" + strings.Repeat(marker, 10000) + "\r\n" + hostileTake + "\r\n0\r\n\r\n"), status: 400, code: bad},
		{name: "a trailer that is a length", request: chunked(size+hostileTake+"\r\n0\r\nContent-Length: 5\r\n\r\n", "Trailer: Content-Length"), status: 400},
		{name: "chunks beyond the limit", request: chunked(strings.Repeat("1000\r\n"+strings.Repeat(" ", 0x1000)+"\r\n", 20) + "0\r\n\r\n"), status: 413, code: bad},
		{name: "half a request line", half: true, request: "POST /gra", status: 400},
		{name: "half a header", half: true, request: head + "X-Secret: " + marker, status: 400},
		{name: "half a body", half: true, request: head + length + "\r\n" + hostileTake[:50], status: 400, code: bad},
		{name: "no body where one is promised", half: true, request: head + length + "\r\n", status: 400, code: bad},
		{name: "a body that waits to be asked for, and never comes", request: head + length + "Expect: 100-continue\r\nContent-Encoding: gzip\r\n\r\n", status: 415, code: bad},

		// Encodings.
		{name: "gzip", request: posted(gzipped(hostileTake), "Content-Encoding: gzip"), status: 415, code: bad},
		{name: "a gzip bomb", request: posted(gzipped(strings.Repeat(" ", 10<<20)), "Content-Encoding: gzip"), status: 415, code: bad},
		{name: "gzip that is not said", request: posted(gzipped(hostileTake)), status: 400, code: bad},
		{name: "gzip behind an empty encoding", request: posted(gzipped(hostileTake), "Content-Encoding:", "Content-Encoding: gzip"), status: 400, code: bad},
		{name: "an encoding that nobody knows", request: posted(hostileTake, "Content-Encoding: "+marker), status: 415, code: bad},

		// Methods.
		{name: "GET with a mutation", request: got(takeInQuery()), status: 405, code: bad},
		{name: "GET with a mutation among queries", request: got("operationName=M&query=" + url.QueryEscape(
			`query Q{lockLimits{batchSize}} mutation M{releaseSpool(input:{tagSpool:"`+heldSpool+`",lockToken:"`+heldToken+`"}){released}}`)), status: 405, code: bad},
		{name: "GET that says it is a POST", request: got(takeInQuery(), "X-HTTP-Method-Override: POST"), status: 405, code: bad},
		{name: "GET with a body", request: by("GET"), status: 400, code: bad},
		{name: "GET with a query twice", request: got(takeInQuery() + "&query={__typename}"), status: 400, code: bad},
		{name: "GET with broken escapes", request: got("query=%zz" + marker), status: 400, code: bad},
		{name: "GET with a semicolon", request: got("query={__typename};" + marker), status: 400, code: bad},
		{name: "GET with broken UTF-8", request: got("query=%ff" + marker), status: 400, code: bad},
		{name: "GET with variables that are no JSON", request: got("query={__typename}&variables=" + marker), status: 400, code: bad},
		{name: "HEAD", request: strings.Replace(got(takeInQuery()), "GET", "HEAD", 1), status: 405},
		{name: "a CORS preflight", request: by("OPTIONS", "Origin: https://evil.example", "Access-Control-Request-Method: POST"), status: 405, code: bad},
		{name: "CONNECT", request: httpRequest("", "CONNECT localhost:6379 HTTP/1.1", "Host: localhost:6379"), status: 405},
	}
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "post", "POSTX"} {
		attacks = append(attacks, attack{name: method, request: by(method), status: 405, code: bad})
	}
	for _, contentType := range []string{
		"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/graphql",
		"application/jsonx", "application/xml", "application/json, text/plain", "application/json; charset=utf-16",
		"application/json; charset=iso-8859-1", "application/json; charset=utf-7", "application/json; charset=" + marker,
		"application/json; charset=utf-8; charset=utf-7", "application/json; charset=\"utf-8", marker,
	} {
		attacks = append(attacks, attack{name: "content type " + contentType, request: typed(contentType), status: 415, code: bad})
	}
	for _, accept := range []string{
		"text/html", "application/json;q=0", "*/*;q=0", "multipart/mixed", "application/json; charset=utf-16",
		";;;", marker, strings.Repeat("text/html,", 1000),
	} {
		attacks = append(attacks, attack{name: fmt.Sprintf("accept %.40s", accept), request: posted(hostileTake, "Accept: "+accept), status: 406, code: bad})
	}
	for _, host := range []string{
		"evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:8080", "127.1", "2130706433", "0x7f000001",
		"localhost:80:80", "[::1].evil.example", "xn--loclhost-2fg.example", marker,
	} {
		attacks = append(attacks, attack{name: "host " + host, request: to(host), status: 403, code: "FORBIDDEN"})
	}
	for _, host := range []string{"local host", "localhost/" + marker, "localhost\x00", "a@localhost", "loc\u0430lhost"} {
		attacks = append(attacks, attack{name: fmt.Sprintf("host %q", host), request: to(host), status: 400})
	}
	for name, headers := range map[string][]string{
		"another origin":                {"Origin: https://evil.example"},
		"another origin's port":         {"Origin: http://localhost:1"},
		"no origin at all":              {"Origin: null"},
		"an origin that is none":        {"Origin: " + marker},
		"an origin like ours":           {"Origin: http://localhost.evil.example"},
		"a cross-site page":             {"Sec-Fetch-Site: cross-site"},
		"a same-site page":              {"Sec-Fetch-Site: same-site"},
		"a cross-site page as our own":  {"Sec-Fetch-Site: cross-site", "Origin: http://localhost"},
		"a page of a site nobody knows": {"Sec-Fetch-Site: " + marker},
	} {
		attacks = append(attacks, attack{name: name, request: posted(hostileTake, headers...), status: 403, code: "FORBIDDEN"})
	}
	return attacks
}

func TestHostileProtocol(t *testing.T) {
	inEachMode(t, func(bool) []attack { return protocolAttacks() })
}
