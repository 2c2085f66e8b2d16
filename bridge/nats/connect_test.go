package nats

// Servers that ask who one is, as they are in earnest: what the right login does, and that a wrong one is said and not tried for ever.

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/shmchan/shmchan"
	"github.com/stretchr/testify/require"
)

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its own certificate
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t}
	a.cert, a.key, a.file, _ = a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// issue makes a certificate, and files of it and its key.
func (a *authority) issue(c *x509.Certificate) (cert *x509.Certificate, key *ecdsa.PrivateKey, certFile, keyFile string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	by, byKey := a.cert, a.key
	if by == nil {
		by, byKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, byKey)
	require.NoError(a.t, err)
	cert, err = x509.ParseCertificate(der)
	require.NoError(a.t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	return cert, key, file(a.t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), file(a.t, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

func (a *authority) forServer() tls.Certificate {
	_, _, cert, key := a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "server"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(a.t, err)
	return pair
}

func (a *authority) forClient() (certFile, keyFile string) {
	_, _, certFile, keyFile = a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "client"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return certFile, keyFile
}

func file(t *testing.T, b []byte) string {
	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	_, err = f.Write(b)
	require.NoError(t, errors.Join(err, f.Close()))
	return f.Name()
}

// ownHost is an address of this machine from which nobody connects and on which nobody else listens, where there is more than one: a port of it that was
// free stays so.
func ownHost() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1"
	}
	return fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()>>16%200, os.Getpid()>>8%256, 2+os.Getpid()%250)
}

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", ownHost()+":0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

func runServer(t *testing.T, o *server.Options) *server.Server {
	o.Host, o.Port, o.JetStream, o.StoreDir, o.NoSigs, o.NoLog = "127.0.0.1", server.RANDOM_PORT, true, t.TempDir(), true, true
	o.AuthTimeout = patience.Seconds()
	s, err := server.NewServer(o)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	require.True(t, s.ReadyForConnections(patience))
	return s
}

// told keeps what was reported.
type told struct {
	mu   sync.Mutex
	text []string
}

func (r *told) report(event string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, event)
}

func (r *told) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.text, "\n")
}

// crosses sends a value through a bridge with that login at both ends.
func crosses(t *testing.T, url string, l Login) {
	t.Helper()
	here, there := t.TempDir(), t.TempDir()
	out, err := shmchan.OpenSender[tick]("safe", shmchan.WithDir(here))
	require.NoError(t, err)
	in, err := shmchan.OpenReceiver[tick]("safe", shmchan.WithDir(there))
	require.NoError(t, err)
	var ends [2]*nats.Conn
	var r told // It may be told more when the test is over.
	defer func() { t.Log(r.all()) }()
	for i := range ends {
		ends[i], err = Connect(url, l, r.report)
		require.NoError(t, err)
		defer ends[i].Close()
	}
	sent, got := sendFrom(context.Background(), t, ends[0], "safe", here, Config{}), recvInto(context.Background(), ends[1], "safe", there, Config{})
	require.NoError(t, out.Send(tick{Seq: 7}))
	v, err := in.Recv()
	require.NoError(t, err)
	require.EqualValues(t, 7, v.Seq)
	require.NoError(t, out.Close())
	_, err = in.Recv()
	require.ErrorIs(t, err, shmchan.ErrClosed)
	require.NoError(t, errors.Join((<-sent).err, (<-got).err, out.Detach(), in.Detach()))
}

// refused has a login fail at once, with an error that says why and what to do.
func refused(t *testing.T, url string, l Login, is error, says ...string) {
	t.Helper()
	var r told
	nc, err := Connect(url, l, r.report)
	require.Error(t, err)
	require.Nil(t, nc)
	if is != nil {
		require.ErrorIs(t, err, is)
	}
	for _, s := range append(says, url) {
		require.ErrorContains(t, err, s)
	}
	require.NotContains(t, r.all(), "tries again")
}

func newUser(t *testing.T) (public, seedFile string, pair nkeys.KeyPair) {
	pair, err := nkeys.CreateUser()
	require.NoError(t, err)
	public, err = pair.PublicKey()
	require.NoError(t, err)
	seed, err := pair.Seed()
	require.NoError(t, err)
	return public, file(t, seed), pair
}

func TestTLSAndNKeys(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	user, seed, _ := newUser(t)
	_, strange, _ := newUser(t)
	s := runServer(t, &server.Options{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{ours.forServer()}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}, TLS: true, TLSVerify: true, TLSTimeout: 60,
		Nkeys: []*server.NkeyUser{{Nkey: user}},
	})
	url := s.ClientURL()
	cert, key := ours.forClient()
	good := Login{NKey: seed, CA: ours.file, Cert: cert, Key: key}
	crosses(t, url, good)

	bad := good
	bad.CA = theirs.file
	refused(t, url, bad, nil, "x509: certificate signed by unknown authority", "give the certificate of the authority")
	bad = good
	bad.CA = ""
	refused(t, url, bad, nil, "x509: certificate signed by unknown authority", "give the certificate of the authority")
	bad = good
	bad.Cert, bad.Key = "", ""
	refused(t, url, bad, nil, "give a certificate, with its key, that the server trusts")
	bad = good
	bad.Cert, bad.Key = theirs.forClient()
	refused(t, url, bad, nil, "give a certificate, with its key, that the server trusts")
	bad = good
	bad.NKey = strange
	refused(t, url, bad, nats.ErrAuthorization, "give the credentials, or the nkey, of a user whom the server knows")
	bad = good
	bad.NKey = ""
	refused(t, url, bad, nats.ErrAuthorization, "give the credentials, or the nkey, of a user whom the server knows")
	for _, bad := range []Login{{NKey: "nowhere"}, {NKey: cert}, {CA: "nowhere"}, {CA: seed}, {Cert: "nowhere", Key: key}, {Cert: cert, Key: seed}, {Creds: "nowhere"}} {
		nc, err := Connect(url, bad, nil)
		require.Error(t, err, "%+v", bad)
		require.Nil(t, nc)
	}
	_, err := Connect(url, Login{NKey: "nowhere"}, nil)
	require.ErrorContains(t, err, "nowhere")

	// A server by another name than its certificate has.
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "tls://"))
	require.NoError(t, err)
	refused(t, "tls://localhost:"+port, good, nil, "x509", "a name that it is for")
}

// issuer issues accounts and users, as an operator does.
type issuer struct {
	t    *testing.T
	pair nkeys.KeyPair
}

func (i issuer) account(name string, stores bool) (public, token string, pair nkeys.KeyPair) {
	pair, err := nkeys.CreateAccount()
	require.NoError(i.t, err)
	public, err = pair.PublicKey()
	require.NoError(i.t, err)
	c := jwt.NewAccountClaims(public)
	c.Name = name
	if stores {
		c.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	}
	token, err = c.Encode(i.pair)
	require.NoError(i.t, err)
	return public, token, pair
}

// user makes a file of credentials.
func (i issuer) user(account nkeys.KeyPair, limits func(*jwt.UserClaims)) string {
	public, _, pair := newUser(i.t)
	c := jwt.NewUserClaims(public)
	limits(c)
	token, err := c.Encode(account)
	require.NoError(i.t, err)
	seed, err := pair.Seed()
	require.NoError(i.t, err)
	text, err := jwt.FormatUserConfig(token, seed)
	require.NoError(i.t, err)
	return file(i.t, text)
}

func TestCredentials(t *testing.T) {
	operator, err := nkeys.CreateOperator()
	require.NoError(t, err)
	public, err := operator.PublicKey()
	require.NoError(t, err)
	claims := jwt.NewOperatorClaims(public)
	i := issuer{t, operator}
	system, systemToken, _ := i.account("SYS", false)
	claims.SystemAccount = system
	account, token, pair := i.account("A", true)
	poor, poorToken, poorPair := i.account("no JetStream", false)
	resolver := &server.MemAccResolver{}
	require.NoError(t, errors.Join(resolver.Store(system, systemToken), resolver.Store(account, token), resolver.Store(poor, poorToken)))
	s := runServer(t, &server.Options{TrustedOperators: []*jwt.OperatorClaims{claims}, SystemAccount: system, AccountResolver: resolver})
	url := s.ClientURL()
	all := func(*jwt.UserClaims) {}
	crosses(t, url, Login{Creds: i.user(pair, all)})

	_, _, strange := i.account("unknown", true)
	for _, bad := range []Login{{}, {Creds: i.user(strange, all)}, {Creds: i.user(pair, func(c *jwt.UserClaims) { c.Expires = time.Now().Add(-time.Hour).Unix() })}} {
		refused(t, url, bad, nats.ErrAuthorization, "give the credentials, or the nkey, of a user whom the server knows")
	}

	// Who may connect, but do nothing, is told so by either end.
	for what, l := range map[string]Login{
		"may not ask for streams": {Creds: i.user(pair, func(c *jwt.UserClaims) { c.Pub.Deny.Add("$JS.API.>") })},
		"has no streams":          {Creds: i.user(poorPair, all)},
	} {
		t.Run(what, func(t *testing.T) {
			nc, err := Connect(url, l, nil)
			require.NoError(t, err)
			defer nc.Close()
			dir := t.TempDir()
			ch, err := shmchan.Open[tick]("safe", shmchan.WithDir(dir))
			require.NoError(t, err)
			c := Config{Timeout: 200 * time.Millisecond}
			for _, r := range []result{<-sendFrom(context.Background(), t, nc, "safe", dir, c), <-recvInto(context.Background(), nc, "safe", t.TempDir(), c)} {
				require.ErrorContains(t, r.err, "the server refuses")
				require.ErrorContains(t, r.err, "permissions")
			}
			require.NoError(t, ch.Detach())
		})
	}
}

// A user who is known no more while the bridge runs ends it, with the reason.
func TestAUserWhoIsTakenAway(t *testing.T) {
	user, seed, _ := newUser(t)
	o := &server.Options{Nkeys: []*server.NkeyUser{{Nkey: user}}}
	s := runServer(t, o)
	var r told
	nc, err := Connect(s.ClientURL(), Login{NKey: seed}, r.report)
	require.NoError(t, err)
	defer nc.Close()
	dir := t.TempDir()
	ch, err := shmchan.Open[tick]("safe", shmchan.WithDir(dir))
	require.NoError(t, err)
	sent := sendFrom(context.Background(), t, nc, "safe", dir, Config{Timeout: time.Second})
	got := recvInto(context.Background(), nc, "safe", t.TempDir(), Config{Timeout: time.Second})
	require.NoError(t, ch.Send(tick{}))
	require.Eventually(t, func() bool { return ch.Len() == 0 }, patience, time.Millisecond)
	another, _, _ := newUser(t)
	changed := o.Clone()
	changed.Port = s.Addr().(*net.TCPAddr).Port
	changed.Nkeys = []*server.NkeyUser{{Nkey: another}}
	require.NoError(t, s.ReloadOptions(changed))
	require.NoError(t, ch.Send(tick{}))
	for _, end := range []result{<-sent, <-got} {
		require.ErrorIs(t, end.err, nats.ErrConnectionClosed)
		require.ErrorIs(t, end.err, nats.ErrAuthorization)
	}
	require.Equal(t, 1, ch.Len(), "what was not acknowledged is in the channel again")
	require.Eventually(t, func() bool { return strings.Contains(r.all(), "the connection is lost") }, patience, time.Millisecond) // Another goroutine tells.
	require.NoError(t, ch.Detach())
}

// Nobody listens yet: each reason is said once, and then it goes on.
func TestAServerThatComesLater(t *testing.T) {
	addr := freeAddress(t)
	var r told
	nc, err := Connect("nats://user:secret@"+addr, Login{}, r.report)
	require.NoError(t, err)
	defer nc.Close()
	require.Contains(t, r.all(), "tries again")
	s, err := Serve(addr, filepath.Join(t.TempDir(), "store"))
	require.NoError(t, err)
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	require.Eventually(t, nc.IsConnected, patience, time.Millisecond)
	require.Eventually(t, func() bool { return strings.Contains(r.all(), "connected to nats://") }, patience, time.Millisecond)
	require.NotContains(t, r.all(), "secret")
	times := map[string]int{}
	for line := range strings.Lines(r.all()) {
		if strings.Contains(line, "tries again") { // Because there is no server, and why there is none.
			times[line]++
			require.Equal(t, 1, times[line], r.all())
		}
	}
}

// A connection that is closed before its goroutines have told that it is one: nothing is said to be connected to nowhere.
func TestClosedBeforeItWasTold(t *testing.T) {
	s, err := Serve("127.0.0.1:0", filepath.Join(t.TempDir(), "store"))
	require.NoError(t, err)
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	for range 20 {
		var r told
		nc, err := Connect(s.ClientURL(), Login{}, r.report)
		require.NoError(t, err)
		over := make(chan struct{})
		nc.SetClosedHandler(func(*nats.Conn) { close(over) }) // The last thing that its goroutines do.
		nc.Close()
		<-over
		for line := range strings.Lines(r.all()) {
			require.Equal(t, "connected to "+s.ClientURL(), line)
		}
	}
}

func TestPasswordsAreNotShown(t *testing.T) {
	require.Equal(t, "nats://u:xxxxx@a:1, nats://b:2", strings.ReplaceAll(withoutPasswords("nats://u:p@a:1,nats://b:2"), ",", ", "))
}
