<?php
/*
 * The application of the soak: a write is a row, or a row and a file, and is told of when it is all there.
 */
$data = dirname(__DIR__).'/data';
$db = new PDO("sqlite:$data/database.sqlite", null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
$db->exec('PRAGMA busy_timeout = 20000');
$db->exec('PRAGMA journal_mode = WAL');
$db->exec('CREATE TABLE IF NOT EXISTS written (id INTEGER PRIMARY KEY, nonce TEXT NOT NULL, file INTEGER NOT NULL)');
header('Content-Type: text/plain');

switch (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH)) {
    case '/write':
        $nonce = $_POST['nonce'];
        if ($file = isset($_POST['file'])) {
            file_put_contents("$data/uploads/.$nonce", $nonce);
            rename("$data/uploads/.$nonce", "$data/uploads/$nonce");
        }
        $db->prepare('INSERT INTO written (nonce, file) VALUES (?, ?)')->execute([$nonce, (int) $file]);
        http_response_code(201);
        break;
    case '/written': // A row whose file is not whole is none.
        foreach ($db->query('SELECT nonce, file FROM written') as [$nonce, $file]) {
            if (!$file || @file_get_contents("$data/uploads/$nonce") === $nonce) {
                echo "$nonce\n";
            }
        }
        break;
    default:
        echo 'the soak';
}
