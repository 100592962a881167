<?php

namespace App\Controller;

use Symfony\Bundle\FrameworkBundle\Controller\AbstractController;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\Routing\Annotation\Route;
use Symfony\Component\Security\Http\Authentication\AuthenticationUtils;

final class SecurityController extends AbstractController
{
    #[Route('/login', name: 'login', methods: ['GET', 'POST'])]
    public function login(AuthenticationUtils $login): Response
    {
        if ($this->getUser() !== null) {
            return $this->redirectToRoute('home');
        }

        return $this->render('login.html.twig', [
            'error' => $login->getLastAuthenticationError(),
            'username' => $login->getLastUsername(),
        ]);
    }

    #[Route('/logout', name: 'logout', methods: ['POST'])]
    public function logout(): never
    {
        throw new \LogicException('The firewall answers this before it comes here.');
    }
}
