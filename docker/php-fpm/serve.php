<?php
/*
 * Run by php-fpm before each request's script (auto_prepend_file): files that an instance has got while it runs.
 *
 * httpd has none of them in its image, and nothing of the writable folders at all: so it asks for the script that
 * answers what is not a static file. Where the path is that of such a file, it is sent from here: through the same
 * gate as all else, so that it is there during a hand-over, and never what no httpd serves (never-served).
 */
(static function (): void {
    $path = rawurldecode(explode('?', $_SERVER['REQUEST_URI'] ?? '', 2)[0]);
    $method = $_SERVER['REQUEST_METHOD'] ?? '';
    $root = $_SERVER['DOCUMENT_ROOT'] ?? '';
    if (!in_array($method, ['GET', 'HEAD'], true) || str_contains($path, "\0") || !is_file("$root$path")) {
        return;
    }
    $app = getenv('GATE_ROOT') ?: '/app';
    $file = (string) realpath("$root$path");
    $private = dirname(getenv('GATE_DATABASE') ?: "$app/data/database.sqlite");
    $folder = '';
    foreach (explode(':', getenv('GATE_WRITABLE') ?: $private) as $one) {
        $one = (string) realpath(str_starts_with($one, '/') ? $one : "$app/$one");
        if ($one !== '' && str_starts_with($file, "$one/")) {
            $folder = $one;
        }
    }
    if ($folder === '' || str_starts_with($file, (realpath($private) ?: $private).'/')) {
        return;
    }
    $never = preg_grep('/^# |^$/', file(__DIR__.'/never-served', FILE_IGNORE_NEW_LINES), PREG_GREP_INVERT);
    $never = '~^(?:'.str_replace('~', '\~', implode('|', $never)).')$~iD';
    // By the names of the path, and by those that it leads to.
    $inside = substr($file, strlen($folder));
    foreach ([...explode('/', $path), ...explode('/', $inside)] as $name) {
        if (($name !== '' && $name[0] === '.' && $name !== '.well-known') || preg_match($never, $name)
            || preg_match('/\.php$/iD', $name)) {
            return;
        }
    }
    // As people who are used to Apache keep a folder for themselves.
    for ($one = dirname($file); strlen($one) >= strlen($folder); $one = dirname($one)) {
        if (preg_match('/^\s*(deny\s+from\s+all|require\s+all\s+denied)\b/im', (string) @file_get_contents("$one/.htaccess"))) {
            return;
        }
    }
    $types = [
        'avif' => 'image/avif', 'css' => 'text/css', 'csv' => 'text/csv', 'gif' => 'image/gif', 'htm' => 'text/html',
        'html' => 'text/html', 'ico' => 'image/vnd.microsoft.icon', 'jpeg' => 'image/jpeg', 'jpg' => 'image/jpeg',
        'js' => 'text/javascript', 'json' => 'application/json', 'map' => 'application/json', 'md' => 'text/markdown',
        'mjs' => 'text/javascript', 'mp3' => 'audio/mpeg', 'mp4' => 'video/mp4', 'ogg' => 'audio/ogg',
        'otf' => 'font/otf', 'pdf' => 'application/pdf', 'png' => 'image/png', 'svg' => 'image/svg+xml',
        'ttf' => 'font/ttf', 'txt' => 'text/plain', 'wasm' => 'application/wasm', 'webm' => 'video/webm',
        'webp' => 'image/webp', 'woff' => 'font/woff', 'woff2' => 'font/woff2', 'xml' => 'application/xml',
        'zip' => 'application/zip',
    ];
    $handle = @fopen($file, 'rb');
    $about = $handle ? fstat($handle) : false;
    if (!$about) {
        return;
    }
    [$size, $mtime] = [$about['size'], $about['mtime']];
    $tag = sprintf('"%x-%x"', $size, $mtime);
    $date = gmdate('D, d M Y H:i:s', $mtime).' GMT';
    header_remove('X-Powered-By');
    // Another default would name a charset that nobody knows.
    ini_set('default_charset', '');
    header('Content-Type: '.($types[strtolower(pathinfo($file, PATHINFO_EXTENSION))] ?? 'application/octet-stream'));
    header('X-Content-Type-Options: nosniff');
    header("Last-Modified: $date");
    header("ETag: $tag");
    header('Accept-Ranges: bytes');
    $known = $_SERVER['HTTP_IF_NONE_MATCH'] ?? null;
    $since = strtotime($_SERVER['HTTP_IF_MODIFIED_SINCE'] ?? '');
    if ($known !== null ? in_array($known, [$tag, '*'], true) : ($since !== false && $mtime <= $since)) {
        http_response_code(304);
        exit;
    }
    [$first, $last] = [0, $size - 1];
    $range = $_SERVER['HTTP_RANGE'] ?? '';
    if (in_array($_SERVER['HTTP_IF_RANGE'] ?? $tag, [$tag, $date], true)
        && preg_match('/^bytes=(\d*)-(\d*)$/D', $range, $asked) && $asked[1].$asked[2] !== '') {
        $first = $asked[1] === '' ? max(0, $size - (int) $asked[2]) : (int) $asked[1];
        $last = $asked[1] === '' || $asked[2] === '' ? $size - 1 : min((int) $asked[2], $size - 1);
        if ($first > $last) {
            http_response_code(416);
            header("Content-Range: bytes */$size");
            exit;
        }
        http_response_code(206);
        header("Content-Range: bytes $first-$last/$size");
    }
    header('Content-Length: '.($last - $first + 1));
    if ($method === 'GET' && $size) {
        while (ob_get_level()) {
            ob_end_clean();
        }
        set_time_limit(0);
        fseek($handle, $first);
        for ($left = $last - $first + 1; $left > 0 && ($chunk = fread($handle, min($left, 1 << 16))); ) {
            $left -= strlen($chunk);
            echo $chunk;
        }
    }
    exit;
})();
