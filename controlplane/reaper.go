package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// The servers end by themselves, within milliseconds; who has not by then is killed.
	patience = 3 * time.Second
	poll     = 10 * time.Millisecond
	// A server too young to have been recorded may still be writing while its directory is removed.
	removeAttempts = 50
)

// process is one entry of plane.json. The start time (clock ticks after boot, field 22 of /proc/PID/stat) tells it from
// a later process that got the same id.
type process struct {
	Name      string `json:"name"`
	PID       int    `json:"pid"`
	StartTime uint64 `json:"start_time"`
}

// reaper waits for the end of standard input, then ends what remains of the plane and removes its state directory.
func reaper(args []string) error {
	flags := flag.NewFlagSet("reaper", flag.ExitOnError)
	state := flags.String("state", "", "state directory of the plane")
	_ = flags.Parse(args) // ExitOnError: it does not return an error
	if !filepath.IsAbs(*state) {
		return errors.New("reaper needs --state with an absolute path")
	}
	// What ends the plane is the end of the pipe alone.
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	waitForEnd()
	if err := endProcesses(filepath.Join(*state, "plane.json")); err != nil {
		fmt.Fprintln(os.Stderr, "reaper:", err) // and remove the directory nevertheless
	}
	return removeState(*state)
}

func endProcesses(record string) error {
	text, err := os.ReadFile(record)
	if err != nil {
		return err
	}
	var plane struct {
		Processes []process `json:"processes"`
	}
	if err := json.Unmarshal(text, &plane); err != nil {
		return fmt.Errorf("%s: %w", record, err)
	}
	deadline := time.Now().Add(patience)
	killed := false
	for {
		alive := false
		for _, p := range plane.Processes {
			if p.PID == os.Getpid() || !p.alive() {
				continue
			}
			alive = true
			if time.Now().After(deadline) {
				killed = true
				if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
					return fmt.Errorf("kill %s (process %d): %w", p.Name, p.PID, err)
				}
			}
		}
		if !alive {
			return nil
		}
		if killed && time.Now().After(deadline.Add(patience)) {
			return errors.New("some processes outlived SIGKILL")
		}
		time.Sleep(poll)
	}
}

// alive says whether the process still runs: a zombie, whose parent has yet to collect it, does not.
func (p process) alive() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil {
		return false
	}
	// The second field is the command in parentheses, which may contain anything.
	text := string(stat)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return false
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	return err == nil && start == p.StartTime
}

// removeState removes the directory under the lock that claiming a name takes too, and the parent if that was the last.
func removeState(state string) error {
	base := filepath.Dir(state)
	lock, err := os.Open(base)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", base, err)
	}
	for range removeAttempts {
		if err = os.RemoveAll(state); err == nil {
			break
		}
		time.Sleep(poll)
	}
	_ = os.Remove(base) // fails while other planes have their directories there, as it should
	return err
}
