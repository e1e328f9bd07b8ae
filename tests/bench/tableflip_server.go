// An HTTP server on tableflip, as its documentation shows it: SIGHUP starts the program anew and hands it the listener,
// the old process ends when its connections are done. Answers with its PID.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "where to listen")
	flag.Parse()
	upgrader, err := tableflip.New(tableflip.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer upgrader.Stop()
	go func() {
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		for range hangup {
			if err := upgrader.Upgrade(); err != nil {
				log.Println("upgrade failed:", err)
			}
		}
	}()
	listener, err := upgrader.Fds.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	pid := fmt.Sprint(os.Getpid())
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, pid)
	})}
	go func() {
		if err := server.Serve(listener); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	if err := upgrader.Ready(); err != nil {
		log.Fatal(err)
	}
	<-upgrader.Exit()
	deadline, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	server.Shutdown(deadline)
}
