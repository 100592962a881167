<?php

use App\Kernel;
use Symfony\Component\HttpFoundation\Request;

require dirname(__DIR__).'/src/autoload.php';

$kernel = Kernel::fromEnvironment();
if ($missing = Kernel::missingSecret()) {
    error_log($missing);
    http_response_code(503);
    header('Content-Type: text/plain; charset=utf-8');
    exit("The site is not set up yet; its log says what is missing.\n");
}
$request = Request::createFromGlobals();
$response = $kernel->handle($request);
$response->send();
$kernel->terminate($request, $response);
