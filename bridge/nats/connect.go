package nats

// Connecting as an end of a bridge should: for as long as it takes, but not in vain.

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Login says who one is and whom one trusts, by files. Its zero value is nobody, who trusts the system's authorities.
type Login struct {
	Creds     string // the user's credentials: a JWT and its seed
	NKey      string // the seed of the user's nkey
	CA        string // the authority that the server's certificate is from
	Cert, Key string // this end's own certificate and its key; both or none
}

func (l Login) options() ([]nats.Option, error) {
	var opts []nats.Option
	if l.Creds != "" {
		opts = append(opts, nats.UserCredentials(l.Creds))
	}
	if l.NKey != "" {
		seed, err := nats.NkeyOptionFromSeed(l.NKey)
		if err != nil {
			return nil, fmt.Errorf("shmchan bridge: cannot use the nkey in %s: %w", l.NKey, err)
		}
		opts = append(opts, seed)
	}
	if l.CA != "" {
		opts = append(opts, nats.RootCAs(l.CA))
	}
	if l.Cert != "" || l.Key != "" {
		opts = append(opts, nats.ClientCert(l.Cert, l.Key))
	}
	return opts, nil
}

// connectTimeout is how long a server may take to answer who connects; then it is taken for one that does not listen. Tests give it more.
var connectTimeout = nats.DefaultTimeout

// Connect connects to the server at that URL, or to one of several with commas between, and stays connected. While nobody listens there it goes on trying, as it does when
// the connection breaks, and reports why, once for each reason; report may be nil. It is called from other goroutines, one at a time, and perhaps once more just after the
// connection was closed. What waiting does not mend is an error at once: a login that is refused, a certificate that is not trusted, a file that is none. A login that is
// refused later, twice in a row, closes the connection: then Send and Recv fail with the reason.
func Connect(servers string, l Login, report func(event string)) (*nats.Conn, error) {
	if report == nil {
		report = func(string) {}
	}
	if err := checkURLs(servers); err != nil {
		return nil, err
	}
	login, err := l.options()
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex // guards reported
	reported := ""
	once := func(event string) {
		mu.Lock()
		defer mu.Unlock()
		if event != reported {
			report(event)
		}
		reported = event
	}
	connected := func(event string, nc *nats.Conn) {
		if url := nc.ConnectedUrlRedacted(); url != "" { // Else it is not any more: what comes next says so, unless nc was closed.
			once(event + url)
		}
	}
	opts := append(login,
		nats.Name("shmchan bridge"), nats.Timeout(connectTimeout), nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond), nats.PingInterval(5*time.Second), nats.MaxPingsOutstanding(2),
		nats.ConnectHandler(func(nc *nats.Conn) { connected("connected to ", nc) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { connected("connected again to ", nc) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { once("cannot connect, and tries again: " + err.Error()) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				once("the connection is lost: " + err.Error())
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { once("the server says: " + err.Error()) }),
	)
	nc, err := nats.Connect(servers, opts...)
	if err != nil && nobodyThere(err) {
		once("cannot connect, and tries again: " + err.Error())
		nc, err = nats.Connect(servers, append(opts, nats.RetryOnFailedConnect(true))...)
	}
	if err != nil {
		return nil, fmt.Errorf("shmchan bridge: cannot connect to %s: %w%s", withoutPasswords(servers), err, advice(err))
	}
	return nc, nil
}

// checkURLs says which of the servers has no address that can be one: nats.go would look for it for ever.
func checkURLs(servers string) error {
	for s := range strings.SplitSeq(strings.TrimRight(servers, ", "), ",") {
		full := strings.TrimSpace(s)
		if !strings.Contains(full, "://") {
			full = "nats://" + full
		}
		const advice = "give it as nats://host:port, tls://, ws:// or wss://, or several with commas between"
		switch u, err := url.Parse(full); {
		case err != nil: // It says the URL, with what may be a password in it.
			var in *url.Error
			if errors.As(err, &in) {
				err = in.Err
			}
			return fmt.Errorf("shmchan bridge: the server's URL is none: %w; %s", err, advice)
		case !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) || u.Hostname() == "":
			return fmt.Errorf("shmchan bridge: %q is no server's URL; %s", u.Redacted(), advice)
		}
	}
	return nil
}

func withoutPasswords(servers string) string {
	urls := strings.Split(servers, ",")
	for i, s := range urls {
		if u, err := url.Parse(strings.TrimSpace(s)); err == nil {
			urls[i] = u.Redacted()
		}
	}
	return strings.Join(urls, ",")
}

// nobodyThere says whether the server may come yet.
func nobodyThere(err error) bool {
	var op *net.OpError
	return errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, io.EOF) || errors.As(err, &op) && op.Op == "dial"
}

func advice(err error) string {
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		return "; give the credentials, or the nkey, of a user whom the server knows"
	case errors.As(err, &untrusted):
		return "; give the certificate of the authority that the server's is from, and a name that it is for"
	case errors.Is(err, nats.ErrTLS), strings.Contains(err.Error(), "remote error: tls"):
		return "; give a certificate, with its key, that the server trusts"
	}
	return ""
}
