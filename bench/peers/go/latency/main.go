// From POST to arrival: sends pushes to the relay at a steady rate and is the sink they arrive at, on one clock.
//
// The payload carries the time of its POST ("sent": "<nanoseconds>"); the sink subtracts it from the time at which it
// has read the push. Each connection has its own timetable. If the relay answers so late that a POST can't leave in
// time, its time is the one it should have left at: waiting at a slow relay counts.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"
)

type setup struct {
	Port         int      `json:"port"`  // of the sink
	Relay        string   `json:"relay"` // host:port
	Certificate  string   `json:"certificate"`
	Key          string   `json:"key"`
	Token        string   `json:"token"`
	AppID        string   `json:"app_id"`
	Payload      string   `json:"payload"`
	Destinations []string `json:"destinations"`
	Connections  int      `json:"connections"`
	Warmup       float64  `json:"warmup"` // seconds whose pushes don't count
}

var marker = []byte(`"sent":"`)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type sink struct {
	mutex    sync.Mutex
	arrivals []arrival
}

type arrival struct {
	sent  int64
	after time.Duration
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	now := time.Now().UnixNano()
	w.Header()["Apns-Id"] = r.Header["Apns-Id"]
	at := bytes.Index(body, marker)
	if err != nil || at < 0 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	text := body[at+len(marker):]
	sent, err := strconv.ParseInt(string(text[:bytes.IndexByte(text, '"')]), 10, 64)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mutex.Lock()
	s.arrivals = append(s.arrivals, arrival{sent, time.Duration(now - sent)})
	s.mutex.Unlock()
}

// post sends on its own connection, one push every interval on average, until the end; returns the accepted.
func post(s setup, number int, interval time.Duration, start, end time.Time) (accepted, refused int) {
	connection, err := net.Dial("tcp", s.Relay)
	check(err)
	defer connection.Close()
	reader := bufio.NewReader(connection)
	random := rand.New(rand.NewSource(int64(number)))
	due := start.Add(time.Duration(random.Float64() * float64(interval)))
	for i := number; due.Before(end); i += s.Connections {
		sent := time.Now()
		if wait := due.Sub(sent); wait > 0 {
			time.Sleep(wait)
			sent = time.Now() // the timer's lateness is not the relay's
		} else {
			sent = due
		}
		payload := fmt.Sprintf(`%s,"sent":"%d"}`, s.Payload[:len(s.Payload)-1], sent.UnixNano())
		body := fmt.Sprintf(`{"app_id":%q,"payload":%s,"destinations":{%q:[]}}`,
			s.AppID, payload, s.Destinations[i%len(s.Destinations)])
		_, err = fmt.Fprintf(connection, "POST /v1.0/send/ HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
			"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", s.Relay, s.Token, len(body), body)
		check(err)
		answer, err := http.ReadResponse(reader, nil)
		check(err)
		_, err = io.Copy(io.Discard, answer.Body)
		check(err)
		if answer.StatusCode == http.StatusAccepted {
			accepted++
		} else {
			refused++
		}
		// Poisson: pushes come when they come.
		due = due.Add(time.Duration(random.ExpFloat64() * float64(interval)))
	}
	return accepted, refused
}

func run(s setup, target *sink, rate, seconds float64) map[string]any {
	target.mutex.Lock()
	target.arrivals = target.arrivals[:0]
	target.mutex.Unlock()
	interval := time.Duration(float64(s.Connections) / rate * float64(time.Second))
	start := time.Now().Add(50 * time.Millisecond)
	counted := start.Add(time.Duration(s.Warmup * float64(time.Second)))
	end := counted.Add(time.Duration(seconds * float64(time.Second)))
	var mutex sync.Mutex
	var done sync.WaitGroup
	accepted, refused := 0, 0
	for c := 0; c < s.Connections; c++ {
		done.Add(1)
		go func() {
			defer done.Done()
			a, r := post(s, c, interval, start, end)
			mutex.Lock()
			accepted, refused = accepted+a, refused+r
			mutex.Unlock()
		}()
	}
	done.Wait()
	elapsed := time.Since(start).Seconds()
	for patience := 0; patience < 100; patience++ {
		target.mutex.Lock()
		all := len(target.arrivals) >= accepted
		target.mutex.Unlock()
		if all {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	target.mutex.Lock()
	defer target.mutex.Unlock()
	var times []float64
	for _, one := range target.arrivals {
		if one.sent >= counted.UnixNano() {
			times = append(times, one.after.Seconds()*1000)
		}
	}
	sort.Float64s(times)
	at := func(share float64) float64 {
		if len(times) == 0 {
			return -1
		}
		return times[int(share*float64(len(times)-1))]
	}
	return map[string]any{"accepted": accepted, "refused": refused, "arrived": len(target.arrivals),
		"rate": float64(accepted) / elapsed, "p50_ms": at(.5), "p90_ms": at(.9), "p99_ms": at(.99), "max_ms": at(1)}
}

func main() {
	var s setup
	argument, err := os.ReadFile(os.Args[1])
	check(err)
	check(json.Unmarshal(argument, &s))
	target := &sink{}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", s.Port))
	check(err)
	server := &http.Server{Handler: target, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 1000}}
	go func() { check(server.ServeTLS(listener, s.Certificate, s.Key)) }()
	fmt.Println(`{"ready": true}`)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var rate, seconds float64
		_, err := fmt.Sscanf(lines.Text(), "run %g %g", &rate, &seconds)
		check(err)
		check(json.NewEncoder(os.Stdout).Encode(run(s, target, rate, seconds)))
	}
}
