<?php

namespace App\Entity;

use Doctrine\ORM\Mapping as ORM;
use Symfony\Component\Security\Core\User\PasswordAuthenticatedUserInterface;
use Symfony\Component\Security\Core\User\UserInterface;

#[ORM\Entity]
#[ORM\Table(name: 'symfony_demo_user')]
class User implements UserInterface, PasswordAuthenticatedUserInterface
{
    #[ORM\Id, ORM\GeneratedValue, ORM\Column]
    private ?int $id = null;

    public function __construct(
        #[ORM\Column(unique: true)] private string $username,
        #[ORM\Column] private string $fullName,
        #[ORM\Column(unique: true)] private string $email,
        #[ORM\Column] private string $password,
        /** @var list<string> */
        #[ORM\Column(type: 'json')] private array $roles = ['ROLE_USER'],
    ) {
    }

    public function getId(): int
    {
        return $this->id;
    }

    public function getUserIdentifier(): string
    {
        return $this->username;
    }

    public function getUsername(): string
    {
        return $this->username;
    }

    public function getFullName(): string
    {
        return $this->fullName;
    }

    public function getPassword(): string
    {
        return $this->password;
    }

    public function getRoles(): array
    {
        return $this->roles;
    }

    public function getSalt(): ?string
    {
        return null; // bcrypt keeps it in the hash
    }

    public function eraseCredentials(): void
    {
    }

    /** What a session keeps: enough to see, at the next request, that the account has not changed. */
    public function __serialize(): array
    {
        return [$this->id, $this->username, $this->password, $this->roles];
    }

    public function __unserialize(array $data): void
    {
        [$this->id, $this->username, $this->password, $this->roles] = $data;
    }
}
