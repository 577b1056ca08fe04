# Run by bash on both hosts of a pair with two rails. Arguments: the command of host 0, which runs the cases; host 1
# serves agents meanwhile. The conformance binary is $CONFORMANCE, else the command's first word.
binary=${CONFORMANCE:-$1}
# Rail 0 carries what is tested, rail 1 what the driver tells its agents: a fault of the one is none of the other. One
# device is left, so that nothing tested takes the other way.
rdma link delete rxe1 || exit
export PEGAFLOW_LISTEN=$PEGAFLOW_HOST_ADDR PEGAFLOW_CABLE=rail0
server=10.9.1.2:7301 done=$PEGAFLOW_OUT/host-0-is-done
if [[ $PEGAFLOW_HOST == 0 ]]; then
  PEGAFLOW_AGENTS=$server "$@"
  status=$?
  : >"$done"
  exit $status
fi
PEGAFLOW_SERVE_AGENTS=$server "$binary" & agents=$!
# It ends by itself only where it could not begin, and has said why.
until [[ -e $done ]]; do
  kill -0 $agents 2>/dev/null || exit
  sleep .5
done
kill $agents
