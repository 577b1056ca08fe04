# Run by bash in a virtual host. Arguments: for each step its name, its limit in seconds, its command.
# One stream: a step's errors stand where they belong.
exec 2>&1
failed=0
while (($# > 0)); do
  name=$1 limit=$2 command=$3
  shift 3
  printf '\n---- %s, at most %s s ----\n' "$name" "$limit"
  start=$SECONDS
  timeout --kill-after=5 "$limit" bash -c "$command" </dev/null
  case $? in
    0) word=passed ;;
    124 | 137) word='FAILED at its limit' failed=1 ;;
    *) word="FAILED with status $?" failed=1 ;;
  esac
  printf -- '---- %s %s after %s s ----\n' "$name" "$word" $((SECONDS - start))
done
exit $failed
