<?php

namespace App\Security;

use App\Entity\User;
use Doctrine\ORM\EntityManagerInterface;
use Symfony\Component\Security\Core\Exception\UnsupportedUserException;
use Symfony\Component\Security\Core\Exception\UserNotFoundException;
use Symfony\Component\Security\Core\User\UserInterface;
use Symfony\Component\Security\Core\User\UserProviderInterface;

/** @implements UserProviderInterface<User> */
final class UserProvider implements UserProviderInterface
{
    public function __construct(private EntityManagerInterface $entities)
    {
    }

    public function loadUserByIdentifier(string $identifier): UserInterface
    {
        return $this->found($this->entities->getRepository(User::class)->findOneBy(['username' => $identifier]), $identifier);
    }

    public function loadUserByUsername(string $username): UserInterface
    {
        return $this->loadUserByIdentifier($username); // the name of Symfony 5's interface
    }

    public function refreshUser(UserInterface $user): UserInterface
    {
        if (!$user instanceof User) {
            throw new UnsupportedUserException($user::class);
        }

        return $this->found($this->entities->find(User::class, $user->getId()), $user->getUserIdentifier());
    }

    public function supportsClass(string $class): bool
    {
        return $class === User::class;
    }

    private function found(?User $user, string $name): User
    {
        if ($user === null) {
            $error = new UserNotFoundException();
            $error->setUserIdentifier($name);
            throw $error;
        }

        return $user;
    }
}
