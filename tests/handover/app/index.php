<?php
/*
 * The second application: no framework, SQLite in WAL mode, rows that violate foreign keys, uploads.
 */
$data = getenv('SECOND_DATA') ?: dirname(__DIR__).'/data';
$db = new PDO("sqlite:$data/database.sqlite", null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
$db->exec('PRAGMA busy_timeout = 5000');
$db->exec('PRAGMA journal_mode = '.(getenv('SECOND_JOURNAL') ?: 'WAL'));
$db->exec('CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, nonce TEXT NOT NULL)');
$db->exec('CREATE TABLE IF NOT EXISTS file (id INTEGER PRIMARY KEY, name TEXT, sha256 TEXT,
    owner INTEGER REFERENCES person(id))');
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
header('Content-Type: text/plain');
header('X-Release: '.getenv('GATE_RELEASE'));

function told(): bool // that what takes long may end
{
    return file_exists($GLOBALS['data'].'/told');
}

function busy(float $seconds): void // sleep() is cut short by SIGQUIT
{
    for ($end = microtime(true) + $seconds; microtime(true) < $end && !told(); ) {
        usleep(2000);
    }
}

switch ($path) {
    case '/write':
        $insert = $db->prepare('INSERT INTO note (nonce) VALUES (?)');
        $insert->execute([$_POST['nonce']]);
        http_response_code(201);
        echo $db->lastInsertId();
        break;
    case '/notes':
        foreach ($db->query('SELECT nonce FROM note') as [$nonce]) {
            echo "note $nonce\n";
        }
        break;
    case '/upload':
        $name = bin2hex(random_bytes(8));
        move_uploaded_file($_FILES['file']['tmp_name'], "$data/uploads/$name");
        $sha256 = hash_file('sha256', "$data/uploads/$name");
        $db->prepare('INSERT INTO file (name, sha256, owner) VALUES (?, ?, 4711)')->execute([$name, $sha256]);
        echo $sha256;
        break;
    case '/files':
        foreach ($db->query('SELECT name, sha256 FROM file') as [$name, $sha256]) {
            echo hash_file('sha256', "$data/uploads/$name") === $sha256 ? "whole $sha256\n" : "broken $name\n";
        }
        break;
    case '/stream':
        for ($i = 0; $i < (int) $_GET['chunks'] && !told(); ++$i) {
            echo str_pad("chunk $i", 1023, '.')."\n";
            while (ob_get_level()) {
                ob_end_flush();
            }
            flush();
            busy(0.05);
        }
        break;
    case '/slow':
        busy((float) $_GET['seconds']);
        $db->prepare('INSERT INTO note (nonce) VALUES (?)')->execute([$_GET['nonce']]);
        echo 'done';
        break;
    default:
        if (getenv('SECOND_BROKEN')) {
            http_response_code(500);
            echo 'this release is broken';
            break;
        }
        echo 'second application';
}
