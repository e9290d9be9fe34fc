#!/usr/bin/env bash
# In a GitHub workflow with `id-token: write`: let the steps that follow act as the AWS role $DEPLOY_ROLE. AWS's own
# programs exchange GitHub's token for credentials that end after an hour; no key is stored anywhere.
set -euo pipefail

fail() { echo "take_role: $*" >&2; exit 1; }

[[ ${DEPLOY_ROLE:-} =~ ^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$ ]] ||
    fail "DEPLOY_ROLE is ${DEPLOY_ROLE:-not set}: expected arn:aws:iam::<account>:role/<name>"
[[ -n ${ACTIONS_ID_TOKEN_REQUEST_URL:-} && -n ${ACTIONS_ID_TOKEN_REQUEST_TOKEN:-} ]] ||
    fail "no token to be had: the job needs 'permissions: id-token: write'"

umask 077
file=$RUNNER_TEMP/aws-web-identity-token
# From stdin, so that the token is in no process list.
answer=$(curl --silent --show-error --fail --max-time 30 --retry 3 --config - <<<"
url = \"$ACTIONS_ID_TOKEN_REQUEST_URL&audience=sts.amazonaws.com\"
header = \"Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN\"") || fail 'GitHub gives no token'
token=$(sed -n 's/.*"value" *: *"\([A-Za-z0-9._-]*\)".*/\1/p' <<<"$answer")
[[ -n $token ]] || fail "GitHub's answer has no token"
echo "::add-mask::$token"
printf '%s' "$token" >"$file"
{
    echo "AWS_ROLE_ARN=$DEPLOY_ROLE"
    echo "AWS_WEB_IDENTITY_TOKEN_FILE=$file"
    echo "AWS_ROLE_SESSION_NAME=github-${GITHUB_RUN_ID:-run}"
} >>"$GITHUB_ENV"
