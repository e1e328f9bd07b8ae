// An echo server with tableflip: SIGHUP starts a new process that takes the listener over.
//
//	tableflip-echo PORT PID_FILE
package main

import (
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/cloudflare/tableflip"
)

func main() {
	upgrader, err := tableflip.New(tableflip.Options{PIDFile: os.Args[2]})
	if err != nil {
		log.Fatal(err)
	}
	defer upgrader.Stop()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		for range signals {
			if err := upgrader.Upgrade(); err != nil {
				log.Println("upgrade:", err)
			} else {
				log.Println("upgraded")
			}
		}
	}()
	listener, err := upgrader.Fds.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var mutex sync.Mutex
	connections := map[net.Conn]bool{}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			mutex.Lock()
			connections[connection] = true
			mutex.Unlock()
			go func() {
				io.Copy(connection, connection)
				connection.Close()
				mutex.Lock()
				delete(connections, connection)
				mutex.Unlock()
			}()
		}
	}()
	if err := upgrader.Ready(); err != nil {
		log.Fatal(err)
	}
	<-upgrader.Exit()
	// The old process ends, as the library's examples do once their time is up; echo connections
	// never come to an end by themselves.
	listener.Close()
}
