#!/bin/sh
# A server on stdio that starts others. `nest` stays as a shell above the server, with a process
# beside it; `escape` leaves one behind that has left its session, its group and its parent.
# Arguments: the kind, then the command of the server.
kind=$1
shift
case $kind in
    nest)
        sleep 86400 </dev/null >/dev/null 2>&1 &
        "$@"
        ;;
    escape)
        (setsid sleep 86400 </dev/null >/dev/null 2>&1 &)
        exec "$@"
        ;;
esac
