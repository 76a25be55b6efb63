package promises

import (
	"errors"
	"fmt"
	"net/http"
)

// Publishing is what became of messages that were posted to the gateway: how many, by the answer, and how many of those arrived.
type Publishing struct {
	Taken, TakenArrived     int // 200
	None, NoneArrived       int // 503
	Unknown, UnknownArrived int // 504
	Other                   int // any other answer, or none
	Twice                   int // that arrived more than once
}

// CountPosts judges answers, by message, against how often each message arrived at Redis.
func CountPosts(answers, arrived map[string]int) (p Publishing) {
	for message, status := range answers {
		all, came := &p.Other, new(int)
		switch status {
		case http.StatusOK:
			all, came = &p.Taken, &p.TakenArrived
		case http.StatusServiceUnavailable:
			all, came = &p.None, &p.NoneArrived
		case http.StatusGatewayTimeout:
			all, came = &p.Unknown, &p.UnknownArrived
		}
		*all++
		if arrived[message] > 0 {
			*came++
		}
		if arrived[message] > 1 {
			p.Twice++
		}
	}
	return p
}

// check says whether P7 was kept, and whether it was put to the test.
func (p Publishing) check() error {
	if p.TakenArrived < p.Taken || p.NoneArrived > 0 || p.Other > 0 || p.Twice > 0 {
		return fmt.Errorf("publishing: not as promised: %+v", p)
	}
	if p.Taken == 0 || p.None == 0 || p.Unknown == 0 {
		return errors.New("publishing: not every answer has been given")
	}
	return nil
}
