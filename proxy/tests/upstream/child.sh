# A server on stdio that does what the message it gets asks for. Needs nothing but sh.
# $1: a file that takes every line as it came.
log=$1
case $2 in stubborn) trap '' TERM ;; esac

answer() { # of the request in $line
    id=${line#*'"id":'}
    printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "${id%%[,\}]*}" "$1"
}

serve() {
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$log"
        case $line in
        *'"method":"initialize"'*bad*) id=${line#*'"id":'}; printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32602,"message":"no"}}\n' "${id%%[,\}]*}" ;;
        *'"method":"initialize"'*) answer "{\"pid\":$$}" ;;
        *'"name":"echo"'*) answer "$line" ;;
        *'"name":"pid"'*) answer "{\"pid\":$$}" ;;
        *'"name":"environment"'*) answer "\"$(env | sort | tr '\n' ' ')\"" ;;
        *'"name":"noise"'*) printf 'listening\n\n\xff{"a"\n{"jsonrpc":"2.0","id":999,"result":1}\n'; answer '"after noise"' ;;
        *'"name":"progress"'*)
            printf '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}\n'
            held=$line; read -r go; printf '%s\n' "$go" >>"$log"; line=$held
            answer '"done"' ;;
        *'"name":"tells"'*) # progress under the token of the request
            token=${line#*'"progressToken" : '}
            printf '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}\n' "${token%%[ ,\}]*}"
            answer '"told"' ;;
        *'"name":"asks"'*)
            printf '{"jsonrpc":"2.0","id":"s1","method":"elicitation/create","params":{}}\n'
            held=$line; read -r reply; printf '%s\n' "$reply" >>"$log"; line=$held
            answer "$reply" ;;
        *'"method":"subscriptions/listen"'*)
            id=${line#*'"id":'}; id=${id%%[,\}]*}
            printf '{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":%s}}}\n' "$id"
            read -r go
            printf '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}\n' "$id" ;;
        *'"name":"changes"'*) printf '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n'; answer '"changed"' ;;
        *'"name":"long"'*) i=0; while [ $i -lt 200 ]; do printf 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'; i=$((i + 1)); done; printf '\n' ;;
        *'"name":"die"'*) echo 'about to die' >&2; exit 3 ;;
        *'"method":"server/discover"'*) id=${line#*'"id":'}; printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}\n' "${id%%[,\}]*}" ;;
        esac
    done
}

serve
printf 'stdin closed\n' >>"$log"
# One that does not go by itself: neither closed stdin nor TERM ends it.
case $2 in stubborn) while :; do read -r line <"$3" || :; done ;; esac
