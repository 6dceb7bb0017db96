// Go's sideshow/apns2 as its README has it: one client held on to, Push from many goroutines.
// Speaks the protocol of bench/senders.py: a line "run SECONDS" in, a line of JSON out.
package main

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sideshow/apns2"
	"github.com/sideshow/apns2/token"
	"golang.org/x/net/http2"
)

type setup struct {
	Host        string `json:"host"`
	Port        int    `json:"port"`
	CA          string `json:"ca"`
	KeyFile     string `json:"key_file"`
	KeyID       string `json:"key_id"`
	TeamID      string `json:"team_id"`
	Topic       string `json:"topic"`
	Payload     string `json:"payload"`
	Pool        int    `json:"pool"`
	Connections int    `json:"connections"`
	Workers     int    `json:"workers"`
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func client(s setup) *apns2.Client {
	key, err := token.AuthKeyFromFile(s.KeyFile)
	check(err)
	made := apns2.NewTokenClient(&token.Token{AuthKey: key, KeyID: s.KeyID, TeamID: s.TeamID})
	made.Host = fmt.Sprintf("https://%s:%d", s.Host, s.Port)
	pem, err := os.ReadFile(s.CA)
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	made.HTTPClient.Transport.(*http2.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	return made
}

func cpu() time.Duration {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func main() {
	var s setup
	check(json.Unmarshal([]byte(os.Args[1]), &s))
	clients := make([]*apns2.Client, s.Connections)
	for i := range clients {
		clients[i] = client(s)
	}
	tokens := make([]string, s.Pool)
	for i := range tokens {
		raw := make([]byte, 32)
		rand.Read(raw)
		tokens[i] = hex.EncodeToString(raw)
	}
	payload := []byte(s.Payload)

	run := func(until time.Time) (int64, int64) {
		var next, ok atomic.Int64
		var done sync.WaitGroup
		for w := 0; w < s.Workers; w++ {
			done.Add(1)
			go func() {
				defer done.Done()
				for time.Now().Before(until) {
					n := next.Add(1) - 1
					answer, err := clients[w%len(clients)].Push(&apns2.Notification{
						DeviceToken: tokens[n%int64(len(tokens))],
						Topic:       s.Topic,
						PushType:    apns2.PushTypeAlert,
						Priority:    apns2.PriorityHigh,
						Payload:     payload,
					})
					if err != nil {
						fmt.Fprintln(os.Stderr, err)
					} else if answer.Sent() {
						ok.Add(1)
					}
				}
			}()
		}
		done.Wait()
		return next.Load(), ok.Load()
	}

	fmt.Println(`{"ready": true}`)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var seconds float64
		_, err := fmt.Sscanf(lines.Text(), "run %g", &seconds)
		check(err)
		started, before := time.Now(), cpu()
		sent, ok := run(started.Add(time.Duration(seconds * 1e9)))
		wall, used := time.Since(started), cpu()-before
		fmt.Printf("{\"sent\": %d, \"ok\": %d, \"wall\": %g, \"cpu\": %g}\n", sent, ok, wall.Seconds(), used.Seconds())
	}
}
