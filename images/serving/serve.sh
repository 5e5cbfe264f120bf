#!/bin/bash
# Starts the server and passes on SIGTERM: the kernel gives process 1 no signal that it does not
# handle, so a server without a handler of its own would only end by SIGKILL.
"$@" &
server=$!
trap 'kill -TERM "$server"' TERM INT
wait "$server"
code=$?
while kill -0 "$server" 2>/dev/null; do # a signal ended the wait, not the server
  wait "$server"
  code=$?
done
exit "$code"
