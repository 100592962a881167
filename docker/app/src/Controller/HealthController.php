<?php

namespace App\Controller;

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\Exception;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\Attribute\AsController;
use Symfony\Component\Routing\Annotation\Route;

#[AsController]
final class HealthController
{
    public function __construct(private Connection $database)
    {
    }

    /** Whether this release can serve this content: the gate asks before it takes the content over. */
    #[Route('/healthz', name: 'health', methods: ['GET'])]
    public function __invoke(): Response
    {
        $plain = ['Content-Type' => 'text/plain', 'Cache-Control' => 'no-store'];
        try {
            $this->database->fetchOne('SELECT COUNT(*) FROM symfony_demo_user');
        } catch (Exception $error) {
            return new Response($error->getMessage()."\n", Response::HTTP_SERVICE_UNAVAILABLE, $plain);
        }

        return new Response("ok\n", Response::HTTP_OK, $plain);
    }
}
